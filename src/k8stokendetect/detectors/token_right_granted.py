# SPDX-License-Identifier: Apache-2.0
"""token-right-granted: somebody was given the right to mint service account tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import attrs

from k8stokendetect.cluster.rbac import RBAC_GROUP
from k8stokendetect.detectors import token_right as right
from k8stokendetect.detectors.base import Traits
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.wording import origin_of, who
from k8stokendetect.events import Event
from k8stokendetect.findings import Evidence, Finding, Rule, Severity
from k8stokendetect.words import brief


@attrs.frozen
class Known:
    """A role that holds the right, or a binding of one: for which accounts, and who is bound so far."""

    accounts: str
    subjects: tuple[str, ...] = ()


class TokenRightGranted(KeyedDetector[Known]):
    """A role that allows `create` on `serviceaccounts/token` was written, or somebody was bound to one.

    It remembers them within a log: for a later binding, for a patch that adds a subject, and to stay silent about a
    role that is written again as it was.
    """

    rule = Rule(
        "token-right-granted",
        "Right to mint service account tokens granted",
        Severity.MEDIUM,
        description=(
            "A role or binding gives the right to mint service account tokens. Anyone who may create "
            "serviceaccounts/token can become every service account that the rule covers, without reading a Secret or "
            "starting a pod. RBAC matches literally: `*`, `*/token` and the name itself grant it, `serviceaccounts/*` "
            "does not; resourceNames limit it to those accounts. Everyone with the role `edit` has it."
        ),
        techniques=("T1098.006",),
        tactics=("persistence", "privilege-escalation"),
        references=(
            "https://kubernetes.io/docs/concepts/security/rbac-good-practices/#token-request",
            "https://attack.mitre.org/techniques/T1098/006/",
        ),
        false_positives=(
            "operators that are installed: External Secrets, Vault, cert-manager and others hold this right",
            "administrators who give somebody the role `edit` or `admin` in a namespace",
        ),
        blind_spots=(
            "level Metadata: rules and role references are not logged; Request: a JSON patch that adds a verb only",
            "a role that has had the right since before the log begins, unless it is built in",
            "rights given elsewhere: EKS access entries, aws-auth, Azure RBAC, Google IAM, OIDC groups",
        ),
        response=(
            "Ask the author of this change whether it was intended. If not: delete the binding and the rule, and look "
            "in the log for tokens that the subjects have minted since (token-request). Narrow what stays with "
            "resourceNames."
        ),
    )
    watches = frozenset(f"{verb} {resource}" for verb in right.DONE for resource in right.RBAC)
    traits = Traits(body="rules, subjects and role references are in the request's body")
    remember_for = timedelta(days=7)

    def keys(self, event: Event, _: Sequence[Finding], /) -> Iterator[str]:
        """Name the role; for a binding the role that it refers to, where shown, and then the binding."""
        ref = event.object_ref
        rbac = ref is not None and ref.api_group in {"", RBAC_GROUP} and event.resource in right.RBAC
        if not rbac or not event.succeeded or event.verb not in right.DONE:
            return
        if role := right.bound_role(event):
            yield role[0]
        yield right.key(event, event.resource, right.name_of(event))

    def fold(self, key: str, event: Event, _: Sequence[Finding], memory: View[Known], /) -> Iterator[Finding]:
        """Fold a role or a binding into what is known of it; the role that a binding refers to comes first."""
        if key != right.key(event, event.resource, right.name_of(event)):
            return
        before = memory.get(key)
        if event.resource in right.ROLES:
            after, found = self._role(event, before)
        else:
            after, found = self._binding(event, before, self._bound(event, memory))
        if not right.is_dry_run(event):  # which changes nothing
            memory.put(key, after)
        yield from found

    def _bound(self, event: Event, memory: View[Known]) -> Known | None:
        """Return what is known of the role that a binding refers to, and keep it a little longer."""
        role = right.bound_role(event)
        if role is None:
            return None
        place, built_in = role
        known = memory.get(place)
        memory.put(place, known)
        return known or (Known(right.EVERY) if built_in else None)

    def _role(self, event: Event, state: Known | None) -> tuple[Known | None, tuple[Finding, ...]]:
        found = right.grants(event) if event.verb != "delete" else ()
        if not found:
            gone = event.verb == "delete" or (event.verb == "update" and isinstance(event.request_object, dict))
            state = None if gone else state
            return (state or Known(right.UNKNOWN), self._hidden(event)) if right.hidden(event) else (state, ())
        known = Known(right.accounts_of(found))
        if right.by_the_cluster_itself(event) or (state == known and event.verb != "create"):
            return known, ()
        partial = any(grant.partial for grant in found)
        evidence = (Evidence(grant.path, grant.rule, "it grants the right to mint") for grant in found[:10])
        caveat = ("the patch shows only a part of the rule: whether that covers `create` is not known",) * partial
        return known, (self._finding(event, f"it may mint tokens of {known.accounts}", evidence, caveat),)

    def _binding(
        self, event: Event, state: Known | None, role: Known | None
    ) -> tuple[Known | None, tuple[Finding, ...]]:
        """Take what the role grants, and keep who is bound."""
        if role is not None:
            state = attrs.evolve(role, subjects=state.subjects if state else ())
        if state is None and right.is_built_in_binding(event):
            state = Known(right.EVERY)
        if state is None or event.verb == "delete" or right.by_the_cluster_itself(event):
            return (None if event.verb == "delete" else state), self._hidden(event)
        named = right.subjects(event)
        new = [name for name in named if name not in state.subjects or event.verb == "create"]
        now = tuple(named) if event.verb != "patch" else tuple(dict.fromkeys((*state.subjects, *named)))
        after = attrs.evolve(state, subjects=now)
        if not new:
            return after, self._hidden(event)
        evidence = [named[name] for name in new[:10]]
        if bound := right.role_ref(event):
            evidence.append(bound.evidence)
        what = f"{', '.join(map(brief, new[:5]))} may mint tokens of {state.accounts}"
        return after, (self._finding(event, what, evidence),)

    def _hidden(self, event: Event) -> tuple[Finding, ...]:
        """Report a write whose body could not be read, by its client's doing."""
        bodies = right.hidden(event)
        if not bodies:
            return ()
        evidence = Evidence("verb", event.verb, "a successful write whose body is hidden")
        caveat = "nobody nests a role or a binding this deeply by accident: check what the cluster has stored"
        return (self._finding(event, f"{' and '.join(bodies)} hides what it grants", (evidence,), (caveat,)),)

    def _finding(self, event: Event, what: str, evidence: Iterable[Evidence], caveats: tuple[str, ...] = ()) -> Finding:
        done, where = right.deed(event)
        dry = ("requested as a dry run: nothing was stored",) if right.is_dry_run(event) else ()
        return self.finding(
            event,
            f"{who(event)} {done}{where}{origin_of(event)}: {brief(what, 500)}{where}",
            *evidence,
            caveats=(*caveats, *dry),
        )
