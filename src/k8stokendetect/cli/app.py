# SPDX-License-Identifier: Apache-2.0
"""The commands and their options; what a command does is in another module, imported when it runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from k8stokendetect.cli.grouping import FIND, FOLLOW, LEAVE_OUT, OTHER, READ, SEND, SHOW, WRITE, Commands, option
from k8stokendetect.cli.mint_options import TERMS, mint_options
from k8stokendetect.cli.options import (
    clouds,
    day_first,
    enable,
    exclusion_file,
    fail_on,
    files,
    platform,
    printing,
    text_or_json,
    trust_pods,
)
from k8stokendetect.cli.serve_options import serve_options, sink
from k8stokendetect.errors import ConfigError


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="k8stokendetect", prog_name="k8stokendetect")
def main() -> None:
    """Find Kubernetes service account tokens minted by someone other than a system component."""


def _run(module: str, name: str, /, **options: Any) -> NoReturn:
    """Run a command and exit with its status; its module is imported only now, so that `--help` answers at once."""
    command = getattr(importlib.import_module(f"k8stokendetect.cli.{module}"), name)
    try:
        status = command(**options)
    except (ConfigError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        importlib.import_module("k8stokendetect.cli.shared").fail(error)
        status = 2
    sys.exit(status)


@main.command(short_help="Find minted tokens in audit and cloud logs.")
@files
@platform
@printing
@option("--report", group=SHOW, metavar="FILE", help="Also write an HTML page about the incidents.")
@option(
    "--state", group=SEND, metavar="FILE", help="Keep what detectors remember in this file, from one run to the next."
)
@exclusion_file
@option(
    "--cluster",
    "cluster_files",
    group=READ,
    multiple=True,
    metavar="FILE",
    help="The cluster's objects: what who-can-mint takes as FILES, see its help; may be repeated.",
)
@option("--cluster-name", group=READ, metavar="NAME", help="Name of the cluster, for records that do not name it.")
@enable
@option(
    "--suggest-exclusions",
    "suggest",
    group=LEAVE_OUT,
    metavar="FILE",
    help="Also write exclusions for the callers found, with proofs, for you to review; - goes with --output.",
)
@option("--rule", "rules", group=FIND, multiple=True, metavar="ID", help="Run only this rule; may be repeated.")
@option("--plugins", group=FIND, is_flag=True, help="Load detectors, envelopes and outputs of installed plug-ins.")
@option(
    "--follow", group=FOLLOW, is_flag=True, help="Keep reading the one file as it grows and rotates, until interrupted."
)
@option("--wait", group=FOLLOW, is_flag=True, help="With --follow: wait for the file if it does not exist.")
@option(
    "--rotated-to",
    "rotated",
    group=FOLLOW,
    metavar="FOLDER",
    help="With --follow: where rotated files go (logrotate's olddir).",
)
@sink
@option("--dead-letters", group=SEND, metavar="FILE", help="With --sink: keep the alerts that a sink refuses.")
@option("--keep-excluded", group=SHOW, is_flag=True, help="Also print excluded findings.")
@trust_pods
@day_first
@clouds
@fail_on
def scan(**options: Any) -> None:
    """Scan audit logs, and clouds' logs: files, compressed or not, archives, folders, URLs, or - for standard input.

    Prints an overview of the incidents, which are the attacks that findings belong to, then a tree for each of the
    worst, and what to do. With --follow, what is HIGH or above is a line at once. With --cluster, targets are judged by
    what they may do, and incidents say through which bindings their callers could mint, how to take those away, and
    where to look in the cloud.

    Exits with 0 when nothing was found at or above --fail-on, 1 when something was, and 2 when a record could not be
    read, an option is wrong or the output could not be written; everything that can be read is examined in any case.
    With 130 when it was interrupted or its output was closed; --follow ends that way and has its usual status.
    """
    _run("scan", "scan", **options)


@main.command(short_help="Receive audit events from a webhook.")
@serve_options
@sink
@platform
@exclusion_file
@option(
    "--cluster", "cluster_files", group=READ, multiple=True, metavar="FILE", help="The cluster's objects, as for scan."
)
@option("--cluster-name", group=READ, metavar="NAME", help="Name of the cluster that posts.")
@clouds
@enable
@option("--rule", "rules", group=FIND, multiple=True, metavar="ID", help="Run only this rule; may be repeated.")
@option("--plugins", group=FIND, is_flag=True, help="Load detectors of installed plug-ins.")
def serve(**options: Any) -> None:
    """Receive what a kube-apiserver's audit webhook posts, send alerts to sinks, show a page of current incidents.

    The API server posts to /audit; the page is /, for a client that may post. An answer means that the batch is on the
    disk; a crash at any point loses and repeats nothing. Without --sink, alerts go to standard output.

    Exits with 0 when it is stopped (SIGTERM, SIGINT), and with 2 when an option is wrong or nothing can be examined.
    """
    _run("serve", "serve", **options)


@main.command(short_help="Show all that is known about a request.")
@click.argument("names", nargs=-1, required=True, metavar="ID… LOG…")
@text_or_json("Text, or a line of JSON for each request.")
@platform
@option("--plugins", group=FIND, is_flag=True, help="Load detectors and envelopes of installed plug-ins.")
@trust_pods
@day_first
def explain(**options: Any) -> None:
    """Show all that is known about a request: what was said about it, why, and its audit event without credentials.

    ID is the fingerprint of a finding or an alert, or the request_id of an event, an alert or an incident, as `scan`
    prints them: 32 hexadecimal digits; or file and line as the trees have them (audit.log:351), the id of a credential
    (JTI=…), or an auditID. LOG is what `scan` takes, except standard input: it is read twice. Every rule
    is asked, also those that are off by default. A token that was minted in another log needs that log, too.

    Exits with 0 when every ID was found, and with 2 when one was not, a record could not be read or an option is wrong.
    """
    _run("explain", "explain", **options)


@main.command(short_help="Show what a log holds and which rules can speak.")
@files
@text_or_json("A page of text, or one JSON document.")
@platform
@trust_pods
def doctor(**options: Any) -> None:
    """Show what audit logs hold, which rules can speak with them, and what to change.

    FILES are what `scan` takes. Every event is read in full: it takes longer than a scan, and finds nothing.

    Exits with 0 when no rule that is on by default is known to miss something with this log, 1 when one cannot speak or
    speaks in part, and 2 when no event could be read or an option is wrong.
    """
    _run("doctor", "doctor", **options)


@main.command(short_help="Find commands that take tokens, in auditd logs.")
@files
@text_or_json("Each finding with its evidence, or JSON lines.")
@fail_on
def scan_host(**options: Any) -> None:
    """Scan audit logs of Linux hosts (auditd): files, gzip files, folders of rotated files, or - for standard input.

    Exits with 0 when nothing was found at or above --fail-on, 1 when something was, and 2 when a record could not be
    read or an option is wrong; everything that can be read is examined in any case.
    """
    _run("scan", "scan_host", **options)


@main.command(epilog=TERMS, short_help="Show who can mint or obtain tokens, and how.")
@click.argument("files", nargs=-1, metavar="[FILES…]")
@text_or_json("Text that groups similar subjects, a line of JSON for each, or SARIF for code scanning.", "sarif")
@mint_options
@platform
@exclusion_file
@enable
def who_can_mint(**options: Any) -> None:
    """Show who can mint tokens of which service accounts or obtain them indirectly, and what would end it.

    FILES are what the command below prints, or dumps of the Python client's objects, JSON or YAML, gzip or not; - is
    standard input. With --context, the live cluster is read instead, which takes the right to list these six kinds. The
    worst come first.

    Exits with 0 when it could answer, 1 when something is there that --fail-on names (with --diff: something new), and
    2 when the answer is incomplete (a file or a kind could not be read) or an option is wrong. An object that is
    skipped, or a binding to a role that does not exist, is a warning.
    """
    _run("who_can_mint", "who_can_mint", **options)


@main.command(short_help="Write rules as Sigma for a SIEM.")
@click.argument("rules", nargs=-1, metavar="[RULE…]")
@option(
    "--out", "folder", group=WRITE, type=click.Path(file_okay=False, path_type=Path), help="Write a file for each rule."
)
@platform
@exclusion_file
@enable
@option(
    "--for",
    "target",
    group=WRITE,
    type=click.Choice(["elastic", "splunk", "sentinel"]),
    help="Instead of Sigma, write what Kibana, Splunk or Sentinel imports, with their field names.",
)
@option(
    "--index", group=WRITE, help="Where the log is: Splunk's index, or Elastic's pattern instead of the integration's."
)
@option("--sourcetype", group=WRITE, help="Splunk's source type of the log, if it is not kube:apiserver-audit.")
@option(
    "--table", group=WRITE, help="Sentinel's table, if it is not AKSAudit: one with its columns, such as AKSAuditAdmin."
)
@option(
    "--full",
    group=WRITE,
    is_flag=True,
    help="Check all that Sigma can express: the credential, the reason, the URI, the body.",
)
@option(
    "--strict",
    group=WRITE,
    is_flag=True,
    help="As --full, without filters that lack a proof: the controller manager's own mints are reported, 30 an hour.",
)
def sigma(**options: Any) -> None:
    """Write rules as Sigma YAML for a SIEM: all that Sigma can express, or those named.

    Rules are short unless you ask for more. How a rule differs from the detector, and what that costs, is a comment in
    the YAML.

    Exits with 2 when a name is unknown or Sigma cannot express a rule.
    """
    _run("rules", "sigma", **options)


@main.command(short_help="Show which rules work with an audit policy.")
@click.argument("policy", metavar="[POLICY.yaml]", required=False)
@option(
    "--clouds", group=OTHER, is_flag=True, help="Also show, or only show, what AWS, Azure and Google Cloud have to log."
)
@text_or_json("Text, a line of JSON for each rule, warning and cloud's log, or SARIF for code scanning.", "sarif")
def audit_policy(**options: Any) -> None:
    """Show which rules work with the log that an audit policy produces, what they miss, and what to change.

    POLICY.yaml is what the API server has as --audit-policy-file; - is standard input. It is judged as the API server
    runs it: a key that it ignores is a warning that says what the rule means without it.

    With --clouds, what to log outside the cluster so that a token can be followed there; nothing is looked up in an
    account.

    Exits with 0 when every rule that is on by default works, 1 when one does not or works in part only, and 2 when the
    API server would refuse the file.
    """
    _run("rules", "audit_policy", **options)


@main.command(short_help="List the rules, or describe some.")
@click.argument("names", nargs=-1, metavar="[RULE…]")
@text_or_json("Text, or a line of JSON for each rule.")
@option("--plugins", group=FIND, is_flag=True, help="Also those of installed plug-ins.")
def rules(**options: Any) -> None:
    """Describe the rules, or only those named: what each finds, what it needs, its false positives and blind spots.

    Exits with 2 when a name is unknown.
    """
    _run("catalogue", "rules", **options)


@main.command(short_help="List the exclusions, or describe some.")
@click.argument("names", nargs=-1, metavar="[EXCLUSION…]")
@text_or_json("Text, or a line of JSON for each exclusion.")
def exclusions(**options: Any) -> None:
    """Describe the exclusions, or only those named: who each excludes, on which proofs, at what cost.

    Exits with 2 when a name is unknown.
    """
    _run("catalogue", "exclusions", **options)
