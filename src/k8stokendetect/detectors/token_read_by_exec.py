# SPDX-License-Identifier: Apache-2.0
"""token-read-by-exec: a command that was run in a pod reads the service account token that is mounted there."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

from k8stokendetect.detectors.base import Detector, Traits
from k8stokendetect.detectors.wording import HOW_ANSWERED, code_evidence, origin_of, who
from k8stokendetect.events import Event
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.words import brief

SWITCHING_PROTOCOLS: Final = 101
"""The answer to a successful exec or attach, which goes on as a websocket or as SPDY."""

_QUOTING: Final = str.maketrans("", "", "'\"\\")
_MOUNTED: Final = re.compile(r"\brun/+(?:\./+)*secrets(/[^\s;|&<>()`]*)?|kubernetes\.io~projected(/[^\s;|&<>()`]*)?")
"""Where tokens are mounted in a container, and where the kubelet keeps them on the host.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#serviceaccount-token-volume-projection
https://kubernetes.io/docs/concepts/storage/projected-volumes/
"""

_HARMLESS_FILES: Final = ("/ca.crt", "/namespace")
"""What is mounted together with the token."""

_LISTING: Final = frozenset({"ls", "stat", "test", "du"})
"""Programs that read no file's content."""


def token_command(uri: str, /) -> str | None:
    """Return the command of an exec if it reads a mounted token, in words that are separated by spaces.

    Arguments:
        uri: `requestURI` as logged; each word of the command is a `command` parameter, percent-encoded.

    Returns:
        None when there is no command, or when it reads no token; a directory with the token in it counts, unless it is
        only listed.

    """
    parameters = parse_qsl(uri.partition("?")[2], keep_blank_values=True, errors="replace")
    words = [value for name, value in parameters if name == "command"]
    if not words or words[0].rpartition("/")[2] in _LISTING:
        return None
    command = " ".join(words)
    paths = (match[1] or match[2] or "" for match in _MOUNTED.finditer(command.translate(_QUOTING)))
    return command if any(not path.endswith(_HARMLESS_FILES) for path in paths) else None


class TokenReadByExec(Detector):
    """The command of an exec stands in the request's URI, at every audit level."""

    rule = Rule(
        "token-read-by-exec",
        "Mounted service account token read by exec",
        Severity.MEDIUM,
        description=(
            "Somebody ran a command in a pod that reads the token mounted there. That yields what a TokenRequest "
            "yields, the pod's identity, without a mint that could be followed. Status 101 means that the stream was "
            "opened; whether the command ran is not in the log."
        ),
        techniques=("T1552.007",),
        tactics=("credential-access",),
        references=(
            "https://attack.mitre.org/techniques/T1552/007/",
            "https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/",
        ),
        false_positives=("people who look into a pod whose token does not work",),
        blind_spots=(
            "what is typed into a shell, a script, a path that the command puts together: it is not in the log",
            "nodes/proxy, ephemeral containers, and a token that is mounted elsewhere",
            "sources that do not log the URI, such as GKE",
        ),
        response=(
            "Ask the caller. Delete the pod, which ends its token, and look at what the pod's service account did from "
            "another address than the pod's (pod-token-moved). Take away the right to exec where it is not needed."
        ),
    )
    watches = frozenset({"pods/exec", "pods/attach"})
    traits = Traits(excludable=False)

    def matches(self, event: Event, /) -> bool:
        """Tell whether the command reads a token."""
        return event.resource in self.watches and event.answered and token_command(event.request_uri) is not None

    def describe(self, event: Event, /) -> Finding:
        """Name the pod and the command."""
        ref, command = event.object_ref, token_command(event.request_uri) or ""
        done = event.succeeded or event.code == SWITCHING_PROTOCOLS
        pod = f"{ref.namespace}/{ref.name}" if ref else "of no name"
        return self.finding(
            event,
            f"{who(event)} {'read' if done else 'tried to read'} the token mounted in pod {pod}{origin_of(event)}: "
            f"{brief(command)}",
            Evidence("requestURI", event.request_uri, "the command, a word in each parameter"),
            *code_evidence(event, HOW_ANSWERED),
            severity=None if done else Severity.LOW,
            caveats=("whether the command ran and what it printed is not in the log",) if done else (),
        )
