# SPDX-License-Identifier: Apache-2.0
"""Judges each rule by what a log carries: whether it can speak, why not, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from k8stokendetect.audit_policy import Change, Level, merged
from k8stokendetect.audit_policy.needs import Need
from k8stokendetect.doctor.facts import BY_NAME, Count, Requests, needs_of
from k8stokendetect.doctor.needs import ALTERNATIVES, ANY_EVENT, BOTH_IDS, EXPECTED, FROM_CLOUDS, WANTED, Wanted
from k8stokendetect.reprs import with_short_repr

Verdict = Literal["can speak", "in part", "not known", "cannot speak"]
VERDICTS: Final[tuple[Verdict, ...]] = ("cannot speak", "in part", "not known", "can speak")
"""The worst first."""

_WITHOUT: Final[Mapping[str, Verdict]] = {"silent": "cannot speak", "less": "in part", "noise": "can speak"}
_NO_CLOUD: Final = "it joins the audit log with the log of a cloud, which is missing here"
_GIVE_CLOUD: Final = "also give the files of CloudTrail, Azure or Google; docs/how-to/clouds.md says what to log"
_PROVIDERS: Final = {
    "eks": "EKS decides its own audit policy; docs/how-to/eks.md says what its log holds",
    "aks": "AKS decides its own audit policy; docs/how-to/aks.md says what its log holds",
    "gke": "GKE decides its own audit policy, and Cloud Logging has no field for some facts; docs/how-to/gke.md",
}


@with_short_repr
@attrs.frozen
class RuleVerdict:
    """What a log means for one rule.

    Arguments:
        rule_id: the rule.
        verdict: `can speak`; `in part`, where it misses some; `cannot speak`; or `not known`, where the log holds no
            request of the kind: nobody made one, or the policy hides them.
        why: what it lacks, as sentences; also what makes it noisier.
        changes: rules to add to the audit policy, before all others.
        advice: what else to change, as sentences.
        clusters: the verdict for each cluster, where they differ.

    """

    rule_id: str
    verdict: Verdict
    why: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    advice: tuple[str, ...] = ()
    clusters: Mapping[str, Verdict] = attrs.field(factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "rule_id": self.rule_id,
            "verdict": self.verdict,
            "why": list(self.why),
            "audit_policy": [change.to_yaml() for change in self.changes],
            "advice": list(self.advice),
            "clusters": dict(self.clusters),
        }


@with_short_repr
@attrs.frozen
class Carried:
    """What the events of one cluster carry.

    Arguments:
        facts: by name.
        requests: how many of each kind were logged, by name.
        platforms: where the events come from.
        lost: what their forms do not carry, as `Event.lost` says.
        clouds: whether calls in a cloud were read, too.

    """

    facts: Mapping[str, Count]
    requests: Mapping[str, Requests]
    platforms: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    clouds: bool = False

    def advice(self, fact: str, /) -> str:
        """Return what to change so that events carry a fact."""
        word = BY_NAME[fact].lost
        if "gke" in self.platforms:
            return _PROVIDERS["gke"]
        if word and any(one.startswith(word) for one in self.lost):
            return f"{fact}: read the log in a format that carries it; docs/sources.md says what each format loses"
        return BY_NAME[fact].advice


@attrs.frozen
class _Lack:
    verdict: Verdict
    why: str
    changes: tuple[Change, ...] = ()
    advice: tuple[str, ...] = ()


def judge(rule: str, carried: Carried, /) -> RuleVerdict:
    """Judge a rule by what the events of one cluster carry."""
    if rule in FROM_CLOUDS and not carried.clouds:
        return RuleVerdict(rule, "not known", (_NO_CLOUD,), advice=(_GIVE_CLOUD,))
    kinds = [] if rule in ANY_EVENT else list(_kinds(rule, carried))
    lacks = [*kinds, *(lack for wanted in WANTED[rule] if (lack := _lack(wanted, carried)))]
    if rule == "minted-token-used":
        lacks += _unjoined(carried)
    verdict = _worst(lack.verdict for lack in lacks)
    return RuleVerdict(
        rule,
        verdict,
        tuple(dict.fromkeys(lack.why for lack in lacks)),
        merged(change for lack in lacks for change in lack.changes),
        tuple(dict.fromkeys(line for lack in lacks for line in lack.advice)),
    )


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    return min(verdicts, key=VERDICTS.index, default="can speak")


def _kinds(rule: str, carried: Carried) -> Iterator[_Lack]:
    """Yield what is lacking of the requests that a rule looks at, and of their bodies."""
    needs = needs_of(rule)
    seen = [need for need in needs if carried.requests[need.kind.name].seen]
    for need in needs:
        count = carried.requests[need.kind.name]
        is_vital = need.essential and (rule not in ALTERNATIVES or not seen)
        if not count.seen:
            if need.kind.name in EXPECTED:
                verdict: Verdict = "cannot speak" if is_vital else "in part"
                yield _lacking(
                    need, verdict, f"none in the log, though every cluster has them: {need.kind.name}", carried
                )
            elif need.essential:
                yield _Lack(
                    "not known", f"none in the log: either nobody made any, or they are not logged: {need.kind.name}"
                )
        elif need.level > Level.METADATA and (count.bodies.is_missing or count.bodies.is_partial()):
            verdict = "cannot speak" if need.essential and not count.bodies.has else "in part"
            yield _lacking(need, verdict, f"{need.why}: logged for {count.bodies} {need.kind.name}", carried)


def _lacking(need: Need, verdict: Verdict, why: str, carried: Carried) -> _Lack:
    provided = tuple(text for platform, text in _PROVIDERS.items() if platform in carried.platforms)
    if provided:
        return _Lack(verdict, why, advice=provided)
    if need.kind.fix is None:
        return _Lack(verdict, why, advice=(f"log {need.kind.name} at level {need.level}",))
    return _Lack(verdict, why, (Change(attrs.evolve(need.kind.fix, level=need.level)),))


def _lack(wanted: Wanted, carried: Carried) -> _Lack | None:
    counts = {name: carried.facts[name] for name in wanted.facts}
    if not any(count.has for count in counts.values()):
        if not any(count.of for count in counts.values()):  # no event should carry it
            return None if wanted.without != "silent" else _Lack("not known", f"{wanted.why}; {_shown(counts)}")
        verdict = _WITHOUT[wanted.without]
    elif all(count.has == 0 or count.is_partial(BY_NAME[name].usual) for name, count in counts.items()):
        verdict = "can speak" if wanted.without == "noise" else "in part"
    else:
        return None
    advice = tuple(carried.advice(name) for name, count in counts.items() if count.of)
    return _Lack(verdict, f"{wanted.why}; {_shown(counts)}", advice=advice)


def _shown(counts: Mapping[str, Count]) -> str:
    return "; ".join(f"{name}: {count} events" for name, count in counts.items())


def _unjoined(carried: Carried) -> Iterator[_Lack]:
    """Yield a lack where mints have ids and uses have none, or the other way round."""
    counts = {name: carried.facts[name] for name in BOTH_IDS}
    missing = [name for name, count in counts.items() if count.is_missing]
    if len(missing) == 1 and all(count.of for count in counts.values()):
        why = "a use is joined with its mint by the token's id, which one of the two lacks"
        yield _Lack("in part", f"{why}; {_shown(counts)}", advice=(carried.advice(missing[0]),))


def together(found: Mapping[str, RuleVerdict], /) -> RuleVerdict:
    """Put together what was judged for each cluster, by its name, of one rule."""
    verdicts = {name: one.verdict for name, one in found.items()}
    first, *others = found.values()
    if not others:
        return first
    differing = set(verdicts.values())
    worst = _worst(differing)
    speaks = worst == "cannot speak" and bool(differing & {"can speak", "in part"})
    return RuleVerdict(
        first.rule_id,
        "in part" if speaks else worst,
        tuple(dict.fromkeys(_placed(found))),
        merged(change for one in found.values() for change in one.changes),
        tuple(dict.fromkeys(line for one in found.values() for line in one.advice)),
        verdicts if len(differing) > 1 else {},
    )


def _placed(found: Mapping[str, RuleVerdict]) -> Iterator[str]:
    for name, one in found.items():
        yield from (f"cluster {name}: {why}" for why in one.why)


def policy_of(verdicts: Sequence[RuleVerdict], /) -> tuple[Change, ...]:
    """Return the rules to add to the audit policy for all rules together."""
    return merged(change for one in verdicts for change in one.changes)
