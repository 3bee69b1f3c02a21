# SPDX-License-Identifier: Apache-2.0
"""token-request-command: a command on a host asks for a service account token."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from k8stokendetect.commands.exec_detector import ExecDetector
from k8stokendetect.commands.exec_events import ExecEvent
from k8stokendetect.commands.token_commands import TokenCall, token_calls
from k8stokendetect.commands.wording import caveats, evidence
from k8stokendetect.detectors.wording import brief
from k8stokendetect.findings import Finding, Rule, Severity


class TokenRequestCommand(ExecDetector):
    """`kubectl create token` and its like, and any program that is given the path of the token subresource."""

    rule = Rule(
        "token-request-command",
        "Service account token requested from a shell",
        Severity.MEDIUM,
        description=(
            "A command on a host asks for a service account token: `kubectl create token`, `oc create token`, `oc sa "
            "get-token`, `kubectl create --raw`, or curl, wget, python and any other program that is given the path "
            "…/serviceaccounts/NAME/token. The host's audit log says who logged in and which process it was, which the "
            "API server cannot know."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/reference/kubectl/generated/kubectl_create/kubectl_create_token/",
        ),
        false_positives=(
            "administrators and pipelines that mint tokens for what runs outside of the cluster",
            "a program with other words for its own `create token NAME`; the finding says that it is not known",
            "a shell and the command it starts are two processes, and a finding each",
        ),
        blind_spots=(
            (
                "what stands in no argument: scripts and programs read from files or standard input, openssl s_client, "
                "interactive interpreters, configuration files (curl -K), here-documents, environment variables"
            ),
            "clients that are compiled, or linked with a Kubernetes library: their arguments say nothing",
            "words put together at run time: concatenated strings, variables, base64, curl's globs",
            (
                "a process that overwrites its title: PROCTITLE is what it says it is, and is cut after 128 bytes; "
                "EXECVE is the kernel's"
            ),
            (
                "arguments and events that the kernel dropped (auditctl -s, `lost`), and hosts and containers without "
                "a rule for execve and execveat, also for 32-bit programs"
            ),
            "whether the API server gave a token: only its own audit log says so (token-request)",
        ),
        response=(
            "Ask the person who logged in (auid). Look for token-request in the API server's audit log at that time: "
            "it says whether a token was issued and what for, and minted-token-used what was done with it. If nobody "
            "knows of it, treat the host as taken, and the credentials on it (kubeconfig, mounted tokens) as known."
        ),
    )

    def inspect_command(self, event: ExecEvent, /) -> Iterator[Finding]:
        """Look at the argument vector, at URLs in it, and at commands within strings that a shell is given."""
        for call in token_calls(event.arguments, event.exe):
            target = "/".join(part for part in (call.namespace, call.name) if part)
            whom = target or "a service account that the command does not name"
            finding = self.finding(
                event,
                f"{brief(event.who) or 'somebody'} ran {_what(event, call)}, a request for a token of {whom}"
                f"{_where(event)}",
                *evidence(event, call),
                caveats=tuple(caveats(event, call)),
                key=target,
            )
            impersonating = next(reversed(call.terms.get("as", ())), None)
            named = target if call.namespace and call.name else None
            yield attrs.evolve(finding, event=attrs.evolve(finding.event, target=named, impersonating=impersonating))


def _what(event: ExecEvent, call: TokenCall) -> str:
    program = (event.exe or event.arguments[0]).rpartition("/")[2]
    return f"{brief(program) or 'a program'} {call.how}" if call.how.startswith("with ") else call.how


def _where(event: ExecEvent) -> str:
    return f", on {brief(event.node)}" if event.node else ""
