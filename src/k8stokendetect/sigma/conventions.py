# SPDX-License-Identifier: Apache-2.0
"""What SigmaHQ asks of a rule that it takes: titles, tags, descriptions, names of files and of filters.

github.com/SigmaHQ/sigma-specification@ba9251aa sigmahq/*.md; pySigma-validators-sigmahq 0.21.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from k8stokendetect.exclusions import Exclusion
from k8stokendetect.findings import Rule

_TACTICS: Final[Mapping[str, tuple[str, ...]]] = {
    "T1078.004": ("initial-access", "persistence", "privilege-escalation", "stealth"),
    "T1098": ("persistence", "privilege-escalation"),
    "T1098.006": ("persistence", "privilege-escalation"),
    "T1550.001": ("lateral-movement",),
    "T1552.001": ("credential-access",),
    "T1552.007": ("credential-access",),
}
"""The tactics of each technique in ATT&CK 19, all of which SigmaHQ wants as tags.

In 19, defense-evasion became stealth and defense-impairment. What SigmaHQ's rules of 2026-08-05 have in common by
technique (github.com/SigmaHQ/sigma@8eaafff1 rules/) and, for T1098.006, its parent T1098; T1078.004 also at
https://threatengine.sh/technique/T1078.004.
"""

_SMALL: Final = frozenset("a an and as at by for from in of on or over the through to via with without".split())

_ALWAYS_THERE: Final = frozenset(
    {"kubelet", "kube-controller-manager", "cloud-controller-manager", "cloud-controller-manager-user"}
)
"""Components of Kubernetes itself; others are optional, unless the platform brings them."""

DETECTS: Final[Mapping[str, str]] = {
    "token-request": (
        "a service account token minted through the TokenRequest API by someone other than a system component"
    ),
    "token-request-uri": (
        "calls to the TokenRequest API that aim outside Kubernetes' own namespaces and service accounts, or whose raw "
        "URI no benign client writes: percent-encoded letters, trailing slashes, another API prefix, dryRun (which "
        "mints a working token), unknown or padded query parameters"
    ),
    "token-request-impersonated": (
        "a service account token minted by somebody who impersonates somebody else (kubectl --as)"
    ),
    "token-request-lookalike": (
        "a service account token minted by a caller that is named like a component that mints by design, but lacks "
        "what the real one has: a group, the kind of credential, the client, the namespace it mints in"
    ),
    "token-request-privileged-target": (
        "a token minted for a service account that can take over the cluster: a controller of kube-controller-manager, "
        "a GitOps engine, a backup tool"
    ),
    "token-request-cloud-audience": (
        "a service account token requested for a cloud's token exchange or a secret store: with it the caller becomes "
        "the cloud role of that service account, from anywhere, and the cluster's log shows nothing more"
    ),
    "token-request-long-lived": "a service account token requested for more than a day",
    "token-request-unbound": (
        "a workload that requests a token of another service account, or one of its own that is bound to nothing"
    ),
    "token-request-denied": (
        "calls to the TokenRequest API that yield no token: not authenticated, not allowed, no such account, or a "
        "request that the API server could not take"
    ),
    "token-in-audit-log": "a usable service account token in the audit log",
    "legacy-token-secret": (
        "a Secret that receives a service account token that never expires, without any TokenRequest, and requests "
        "made with such a token"
    ),
    "token-read-by-exec": "a command in a pod that reads the service account token mounted there",
    "token-right-granted": "roles and bindings that give the right to mint service account tokens",
    "audit-annotation-forged": "admission policies and webhooks that can forge the API server's audit annotations",
    "minted-token-used": (
        "requests made with a service account token that someone other than a system component minted"
    ),
    "legacy-token-secret.filled": "a new Secret into which the controller manager writes a service account token",
}
"""What a rule detects, by its id: what the first sentence of the rule's description says, after `Detects`."""

_NEXT_SENTENCE: Final = re.compile(r"\.\s+(?=[A-Z0-9])")


def description(rule: Rule, key: str, /) -> str:
    """Return a rule's description; one that SigmaHQ would take begins with `Detects`.

    Arguments:
        rule: the rule.
        key: its id in `DETECTS`.

    """
    if key not in DETECTS:
        return rule.description or rule.title
    _, *others = _NEXT_SENTENCE.split(rule.description, maxsplit=1)
    return " ".join((f"Detects {DETECTS[key]}.", *others))


def kind(exclusion: Exclusion, /) -> str:
    """Return the kind of a filter: `main` for what is part of Kubernetes or the platform, `optional` for the rest."""
    component = exclusion.component
    return "main" if component.id in _ALWAYS_THERE or component.platforms else "optional"


def title(text: str, /) -> str:
    """Return a title in title case."""
    return " ".join(_capital(word) for word in text.split(" "))


def _capital(word: str) -> str:
    if not word.islower() or word in _SMALL:
        return word
    return "-".join(part[:1].upper() + part[1:] for part in word.split("-"))


def tags(rule: Rule, /) -> list[str]:
    """Return a rule's tags: its tactics, those of its techniques, and these."""
    tactics = {*rule.tactics, *(tactic for technique in rule.techniques for tactic in _TACTICS[technique])}
    return [f"attack.{tag.lower()}" for tag in (*sorted(tactics), *rule.techniques)]


def references(rule: Rule, /) -> list[str]:
    """Return a rule's references but those to ATT&CK, which the tags are."""
    return [link for link in rule.references if not link.startswith("https://attack.mitre.org/")]


def false_positives(rule: Rule, /) -> list[str]:
    """Return a rule's false positives, each with a capital; `Unlikely` if there are none, `Unknown` if nobody knows."""
    found = [text for text in rule.false_positives if not text.startswith("none")]
    otherwise = "Unlikely" if rule.false_positives else "Unknown"
    return [text[:1].upper() + text[1:] for text in found] or [otherwise]


def file_name(rule: str, /, *, is_correlation: bool = False) -> str:
    """Return the name of a rule's file."""
    start = "correlation_kubernetes_audit" if is_correlation else "kubernetes_audit"
    return f"{start}_{rule.replace('-', '_').replace('.', '_')}.yml"


def requirements(level: str, /, *more: str) -> str:
    """Return what a log source has to be, for `logsource.definition`."""
    parts: Iterable[str] = (f"an audit policy that logs the events at level {level} or above", *more)
    return f"Requirements: {'; '.join(parts)}."
