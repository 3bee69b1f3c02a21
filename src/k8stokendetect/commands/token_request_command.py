# SPDX-License-Identifier: Apache-2.0
"""token-request-command: a command on a host asks for a service account token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from k8stokendetect.commands.exec_detector import ExecDetector
from k8stokendetect.commands.exec_events import ExecEvent
from k8stokendetect.commands.token_commands import TokenCall, token_calls
from k8stokendetect.events import TOKEN_SUBRESOURCE
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.words import brief

LONGEST_SHOWN: Final = 4000
"""Maximum number of characters of a command that are evidence; of a longer one, those around the first telling word."""

_TELLING: Final = re.compile(r"serviceaccounts|kubectl|token", re.IGNORECASE)

_DAY: Final = 24 * 3600
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"\+?((?:\d{1,18}(?:\.\d{0,18})?(?:h|ms|m|s|us|µs|ns))+)")
_WHY: Final = {
    "audience": "whom the token is for",
    "as": "whom kubectl impersonates",
    "as-group": "groups that kubectl impersonates",
    "bound-object-kind": "what the token is bound to",
    "bound-object-name": "what the token is bound to",
}


class TokenRequestCommand(ExecDetector):
    """`kubectl create token` and similar commands, and any program called with the path of the token subresource."""

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
            "administrators and pipelines that mint tokens for what runs outside the cluster",
            "a program with other words for its own `create token NAME`; the finding says that it is not known",
            "a shell and the command it starts are two processes, and a finding each",
        ),
        blind_spots=(
            (
                "anything that is not in an argument: scripts and programs read from files or standard input, openssl "
                "s_client, interactive interpreters, configuration files (curl -K), here-documents, environment "
                "variables"
            ),
            "clients that are compiled, or linked with a Kubernetes library: their arguments say nothing",
            "words put together at run time: concatenated strings, variables, base64, curl's globs",
            (
                "a process that overwrites its title: the process chooses PROCTITLE, which is cut after 128 bytes; "
                "EXECVE comes from the kernel"
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
        """Look at the arguments, at URLs in them, and at commands in strings for a shell."""
        for call in token_calls(event.arguments, event.exe):
            target = "/".join(part for part in (call.namespace, call.name) if part)
            whom = target or "a service account that the command does not name"
            finding = self.finding(
                event,
                f"{brief(event.who) or 'somebody'} ran {_what(event, call)}, a request for a token of {whom}"
                f"{_where(event)}",
                *_evidence(event, call),
                caveats=tuple(_caveats(event, call)),
                key=target,
            )
            impersonating = next(reversed(call.terms.get("as", ())), None)
            ref = attrs.evolve(finding.event, impersonating=impersonating)
            if call.namespace and call.name:
                ref = attrs.evolve(ref, resource=TOKEN_SUBRESOURCE, namespace=call.namespace, name=call.name)
            yield attrs.evolve(finding, event=ref)


def _what(event: ExecEvent, call: TokenCall) -> str:
    program = (event.exe or event.arguments[0]).rpartition("/")[2]
    return f"{brief(program) or 'a program'} {call.how}" if call.how.startswith("with ") else call.how


def _where(event: ExecEvent) -> str:
    return f", on {brief(event.node)}" if event.node else ""


def _evidence(event: ExecEvent, call: TokenCall, /) -> Iterator[Evidence]:
    """Yield the command, who ran it, and the terms it names."""
    if sum(map(len, event.arguments)) <= LONGEST_SHOWN:
        yield Evidence("arguments", event.arguments, "the command")
    else:
        text = event.arguments[call.argument]
        found = _TELLING.search(text)
        begin = max(0, (found.start() if found else 0) - LONGEST_SHOWN // 2)
        shown = text[begin : begin + LONGEST_SHOWN]
        yield Evidence(f"arguments[{call.argument}]", shown, "the part that says it; the command is long")
    for name, why in (
        ("exe", "the program's file"),
        ("login", "who logged in"),
        ("auid", "who logged in"),
        ("user", "whose rights the process had"),
        ("uid", "whose rights the process had"),
        ("tty", "the terminal"),
        ("pid", "the process"),
        ("ppid", "what started it"),
    ):
        value = getattr(event, name)
        if value not in {None, ""}:
            yield Evidence(name, value, why)
    for name, values in call.terms.items():
        if name == "duration":
            yield Evidence(_place(event, call, values[-1]), values[-1], _lifetime(values[-1]))
        else:
            yield from (Evidence(_place(event, call, value), value, f"--{name}: {_WHY[name]}") for value in values)


def _place(event: ExecEvent, call: TokenCall, value: str) -> str:
    """Name the argument that is or ends with a value, or else the script that contains it."""
    arguments = event.arguments
    alone = (number for number, text in enumerate(arguments) if text == value or text.endswith(f"={value}"))
    return f"arguments[{next(alone, call.argument)}]"


def _lifetime(text: str) -> str:
    """Say which lifetime was requested; `text` is a Go duration."""
    match = _DURATION.fullmatch(text)
    parts = re.findall(r"([\d.]+)(h|ms|m|s|us|µs|ns)", match[1]) if match else []
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    over = f", more than a day: {seconds / _DAY:.3g} days (see token-request-long-lived)" if seconds > _DAY else ""
    return f"--duration: the lifetime asked for{over}"


def _caveats(event: ExecEvent, call: TokenCall, /) -> Iterator[str]:
    """Say what the command and its records do not show."""
    if event.source == "proctitle":
        yield "from the process's title, which it can set, and of which 128 bytes are logged"
    if not event.complete:
        yield "arguments are missing"
    if not call.certain:
        yield "the program is not known by its name: it may have such words of its own"
    if call.name and not call.namespace:
        yield "the namespace is not in the command: it is the one of the kubeconfig's context"
    if event.carried_token:
        yield "a live token was in the command and was removed"
    if event.auid is None and not event.login:
        yield "nobody is known to have logged in: a container, a service or a daemon"
    yield "whether a token was issued is not known: the API server's audit log says so"
