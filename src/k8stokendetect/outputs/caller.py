# SPDX-License-Identifier: Apache-2.0
"""The facts about the caller that the forms for people print once per request, next to the evidence of its rules."""

from __future__ import annotations

from collections.abc import Iterator

from k8stokendetect.findings import EventRef, Evidence, Finding
from k8stokendetect.identity import CREDENTIAL_ID, REASON
from k8stokendetect.outputs.values import is_command


def caller_facts(ref: EventRef, /) -> tuple[Evidence, ...]:
    """Return who made a request, from where, with what and by which right; each only where it was logged."""
    facts = {
        "user.username": (ref.user, "who called"),
        "user.groups": (_with_count(ref.groups, ref.more_groups), "the caller's groups"),
        f"user.extra['{CREDENTIAL_ID}'][0]": (ref.used_credential, "the credential the call was made with"),
        "impersonatedUser.username": (ref.impersonating, "whom the caller impersonated"),
        ref.peer_path: (ref.peer_ip, "the peer that the API server saw"),
        "userAgent": (ref.user_agent, "what the client calls itself"),
        "objectRef.namespace": (ref.namespace, "the namespace of the object"),
        "objectRef.name": (ref.name, "the object"),
        f"annotations['{REASON}']": (ref.reason, "what gave the right, or refused it"),
    }
    return tuple(Evidence(path, value, why) for path, (value, why) in facts.items() if value)


def facts_of(finding: Finding, /) -> Iterator[Evidence]:
    """Yield the facts about the caller that no evidence of the finding has, then its evidence."""
    if not is_command(finding.event):
        known = {item.path for item in finding.evidence}
        yield from (fact for fact in caller_facts(finding.event) if fact.path not in known)
    yield from finding.evidence


def _with_count(items: tuple[str, ...], more: int) -> tuple[str, ...]:
    return (*items, f"… and {more} more") if more else items
