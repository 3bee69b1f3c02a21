# SPDX-License-Identifier: Apache-2.0
"""Look-alikes in Sigma: a known minter's name without its proofs, or a reserved name that no known minter has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from k8stokendetect.detectors.token_request_lookalike import RESERVED
from k8stokendetect.exclusions import Exclusion
from k8stokendetect.identity import CREDENTIAL_ID, SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS_GROUP
from k8stokendetect.sigma.filters import filters, unsaid
from k8stokendetect.sigma.terms import (
    EXTRA,
    GROUPS,
    USERNAME,
    Selection,
    first_begins,
    fits,
    guarded,
    has_element,
    literal,
    one_or_list,
    one_or_terms,
)

_ACCOUNT: Final = guarded({f"{USERNAME}|startswith": SERVICE_ACCOUNT_PREFIX})


def lookalike(exclusions: Iterable[Exclusion], weaker: Collection[str], /) -> tuple[Mapping[str, Selection], str]:
    """Return selections and a condition for callers that are not who their name says.

    Names of exclusions with a proof that Sigma cannot say are left out: no filter excuses them, so `token-request`
    reports each of their mints.
    """
    known = tuple(exclusions)
    sayable = [one for one in known if not unsaid(one) or one.id in weaker]
    said = [one.about_the_caller for exclusion in sayable for one in filters(exclusion) if _on_any_platform(exclusion)]
    names = dict.fromkeys(name for one in known for name in one.component.actor.username)
    like = dict.fromkeys(name for one in sayable if _on_any_platform(one) for name in one.component.actor.username)
    selections: dict[str, Selection] = {
        "reserved": guarded({f"{USERNAME}|startswith": one_or_list([literal(one) for one in RESERVED])}),
        "anonymous": guarded({USERNAME: "system:anonymous"}),
        "account": _ACCOUNT,
        "account_group": has_element(GROUPS, SERVICE_ACCOUNTS_GROUP),
        "account_certificate": first_begins(f"{EXTRA}.{CREDENTIAL_ID}", "X509SHA256="),
    }
    unknown = "(reserved and not account and not anonymous) or (account and (not account_group or account_certificate))"
    if names:
        selections["known"] = one_or_terms(fits(USERNAME, names))
        unknown = f"not known and ({unknown})"
    if not said:
        return selections, unknown
    selections["like"] = one_or_terms(fits(USERNAME, like))
    for one in said:
        selections |= one.selections
    return selections, f"({unknown}) or (like and not ({' or '.join(one.condition for one in said)}))"


def _on_any_platform(exclusion: Exclusion) -> bool:
    """Tell whether a look-alike shows everywhere: not for logs without groups, which other logs cannot be held to."""
    return not exclusion.component.actor.groups_not_logged
