# SPDX-License-Identifier: Apache-2.0
"""The commands and their options; what a command does is in another module, imported when it runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
@click.option("--report", metavar="FILE", help="Also write an HTML page about the incidents.")
@click.option("--state", metavar="FILE", help="What detectors remember: read at the start if it exists, then written.")
@exclusion_file
@click.option(
    "--cluster",
    "cluster_files",
    multiple=True,
    metavar="FILE",
    help="The cluster's objects, as `kubectl get serviceaccounts,roles,rolebindings,clusterroles,"
    "clusterrolebindings,pods -A -o json` prints them; may be repeated.",
)
@click.option("--cluster-name", metavar="NAME", help="The cluster of records that name none.")
@enable
@click.option(
    "--suggest-exclusions",
    "suggest",
    metavar="FILE",
    help="Also write exclusions for the callers that were found, with proofs, for you to confirm; - with --output.",
)
@click.option("--rule", "rules", multiple=True, metavar="ID", help="Run only this rule; may be repeated.")
@click.option("--plugins", is_flag=True, help="Load detectors, envelopes and outputs of installed plug-ins.")
@click.option("--follow", is_flag=True, help="Read on as the one file grows and rotates, until interrupted.")
@click.option("--wait", is_flag=True, help="With --follow: wait for the file if it does not exist.")
@click.option("--rotated-to", "rotated", metavar="FOLDER", help="With --follow: where rotated files are (olddir).")
@sink
@click.option("--dead-letters", metavar="FILE", help="With --sink: keep what a sink does not take.")
@click.option("--keep-excluded", is_flag=True, help="Also print excluded findings.")
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
@click.option("--cluster", "cluster_files", multiple=True, metavar="FILE", help="The cluster's objects, as for scan.")
@click.option("--cluster-name", metavar="NAME", help="The cluster that posts.")
@clouds
@enable
@click.option("--rule", "rules", multiple=True, metavar="ID", help="Run only this rule; may be repeated.")
@click.option("--plugins", is_flag=True, help="Load detectors of installed plug-ins.")
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
@click.option("--plugins", is_flag=True, help="Load detectors and envelopes of installed plug-ins.")
@trust_pods
@day_first
def explain(**options: Any) -> None:
    """Show all that is known about a request: what was said about it, why, and its audit event without credentials.

    ID is the fingerprint of a finding or an alert, or the request_id of an event, an alert or an incident, as `scan`
    prints them: 32 hexadecimal digits; or file and line as the trees have them (audit.log:351), the id of a credential
    (JTI=…), or an auditID. LOG is what `scan` takes, but for standard input: it is read twice. Every rule
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

    FILES are what `kubectl get serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,pods -A -o json`
    prints, or dumps of the Python client's objects, JSON or YAML, gzip or not; - is standard input. With --context the
    cluster is read itself: that takes the right to list these six kinds. The worst come first.

    Exits with 0 when it could answer, 1 when something is there that --fail-on names (with --diff: something new), and
    2 when the answer is incomplete (a file or a kind could not be read) or an option is wrong. An object that is
    skipped, or a binding to a role that does not exist, is a warning.
    """
    _run("who_can_mint", "who_can_mint", **options)


@main.command(short_help="Write rules as Sigma for a SIEM.")
@click.argument("rules", nargs=-1, metavar="[RULE…]")
@click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write a file for each rule.")
@platform
@exclusion_file
@enable
@click.option(
    "--for",
    "target",
    type=click.Choice(["elastic", "splunk", "sentinel"]),
    help="Write what Kibana, Splunk or Sentinel imports, with its names of the fields, instead of Sigma.",
)
@click.option("--index", help="Where the log is: Splunk's index, or Elastic's pattern instead of the integration's.")
@click.option("--sourcetype", help="Splunk's source type of the log, if it is not kube:apiserver-audit.")
@click.option("--table", help="Sentinel's table, if it is not AKSAudit: one with its columns, such as AKSAuditAdmin.")
@click.option(
    "--full", is_flag=True, help="Check all that Sigma can express: the credential, the reason, the URI, the body."
)
@click.option(
    "--strict",
    is_flag=True,
    help="As --full, and no filter that lacks a proof: the controller manager's own mints are reported, 30 an hour.",
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
@click.option("--clouds", is_flag=True, help="What AWS, Azure and Google Cloud have to log, too, or alone.")
@text_or_json("Text, a line of JSON for each rule, warning and cloud's log, or SARIF for code scanning.", "sarif")
def audit_policy(**options: Any) -> None:
    """Show which rules work with the log that an audit policy produces, whom they miss, and what to change.

    POLICY.yaml is what the API server has as --audit-policy-file; - is standard input. It is judged as the API server
    runs it: a key that it ignores is a warning that says what the rule means without it.

    With --clouds, what to log outside the cluster so that a token can be followed there; nothing is looked up in an
    account.

    Exits with 0 when every rule that is on by default works, 1 when one does not or works in part only, and 2 when the
    API server would refuse the file.
    """
    _run("rules", "audit_policy", **options)


@main.command(short_help="List the rules.")
@click.option("--plugins", is_flag=True, help="Also those of installed plug-ins.")
def rules(**options: Any) -> None:
    """List the rules: what each finds, its false positives, its blind spots."""
    _run("rules", "rules", **options)


@main.command(short_help="List the exclusions.")
def exclusions() -> None:
    """List the exclusions: who each excludes, on which proofs, why, at what cost, and how we know."""
    _run("rules", "exclusions")
