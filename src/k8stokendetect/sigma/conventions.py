# SPDX-License-Identifier: Apache-2.0
"""What SigmaHQ asks of a rule that it takes: titles, tags, descriptions, names of files and of filters.

github.com/SigmaHQ/sigma-specification@ba9251aa sigmahq/*.md; pySigma-validators-sigmahq 0.21.
"""

from __future__ import annotations

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
    "token-request": "a service account token minted through the TokenRequest API by someone other than a component",
    "token-request-uri": "calls to the TokenRequest API for unusual targets or through unusual URIs",
    "token-request-impersonated": "a service account token minted by somebody who impersonates somebody else",
    "token-request-lookalike": "a service account token minted by a caller with a reserved name and not its proofs",
    "token-request-privileged-target": "a token minted for a service account that can take over the cluster",
    "token-request-cloud-audience": "a service account token requested for a cloud or a secret store",
    "token-request-long-lived": "a service account token requested for more than a day",
    "token-request-unbound": "a service account that mints tokens",
    "token-request-denied": "calls to the TokenRequest API that were refused or failed",
    "token-in-audit-log": "a service account token that stands in the audit log",
    "legacy-token-secret": "the making of a Secret that receives a service account token, and the use of such a token",
    "token-read-by-exec": "a command in a pod that reads its mounted service account token",
    "token-right-granted": "roles and bindings that give the right to mint service account tokens",
    "audit-annotation-forged": "admission policies and webhooks that can forge the API server's audit annotations",
    "minted-token-used": "the use of a service account token that somebody minted who is no component",
    "legacy-token-secret.filled": "a new Secret into which the controller manager writes a service account token",
}
"""How a description begins, after `Detects`; by the id of the rule."""


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
