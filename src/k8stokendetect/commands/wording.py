# SPDX-License-Identifier: Apache-2.0
"""The evidence and the caveats of a command that asks for a token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from k8stokendetect.commands.exec_events import ExecEvent
from k8stokendetect.commands.token_commands import TokenCall
from k8stokendetect.findings import Evidence

LONGEST_SHOWN: Final = 4000
"""So many characters of a command are evidence; of a longer one, so many around the first word that tells."""

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


def evidence(event: ExecEvent, call: TokenCall, /) -> Iterator[Evidence]:
    """Yield the command, who ran it, and the terms that it names."""
    if sum(map(len, event.arguments)) <= LONGEST_SHOWN:
        yield Evidence("arguments", event.arguments, "the command")
    else:
        text = event.arguments[call.argument]
        told = _TELLING.search(text)
        begin = max(0, (told.start() if told else 0) - LONGEST_SHOWN // 2)
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
    """Name the argument that a value is, or ends, or else the script that it stands in."""
    arguments = event.arguments
    alone = (number for number, text in enumerate(arguments) if text == value or text.endswith(f"={value}"))
    return f"arguments[{next(alone, call.argument)}]"


def _lifetime(text: str) -> str:
    """Say how long a token is asked for, in Go's notation."""
    match = _DURATION.fullmatch(text)
    parts = re.findall(r"([\d.]+)(h|ms|m|s|us|µs|ns)", match[1]) if match else []
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    over = f", more than a day: {seconds / _DAY:.3g} days (see token-request-long-lived)" if seconds > _DAY else ""
    return f"--duration: the lifetime asked for{over}"


def caveats(event: ExecEvent, call: TokenCall, /) -> Iterator[str]:
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
        yield "a live token stood in the command and was removed"
    if event.auid is None and not event.login:
        yield "nobody is known to have logged in: a container, a service or a daemon"
    yield "whether a token was issued is not known: the API server's audit log says so"
