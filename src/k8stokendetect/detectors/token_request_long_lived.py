# SPDX-License-Identifier: Apache-2.0
"""token-request-long-lived: a service account token was issued for longer than it should live."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from k8stokendetect.detectors.base import MINTS, Detector, Traits
from k8stokendetect.detectors.token_request_cloud_audience import is_api_server, own_audiences
from k8stokendetect.detectors.wording import EXTENDED_EXPIRATION, is_extended, lifetime_evidence, minted, unseen_body
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import Event, TokenRequestSpec
from k8stokendetect.findings import Finding, Rule, Severity

EXTENDED_TO: Final = 365 * 24 * 3600
"""Its token is valid for this long (claims.go:42); 90 days on EKS (docs.aws.amazon.com/eks, service-accounts)."""


class TokenRequestLongLived(Detector):
    """The lifetime that was granted, or asked for where the grant is not logged, is over the threshold.

    Arguments:
        threshold: longer lifetimes are reported.
        high_from: from this lifetime on the severity is high.
        api_audiences: further audiences of this cluster's API server, for which a request of 3607 s is extended.

    """

    rule = Rule(
        "token-request-long-lived",
        "Long-lived service account token requested",
        Severity.MEDIUM,
        description=(
            "Somebody minted a token that lives longer than a day. Such a token is a way back in after the hole is "
            "closed: it needs no renewal. By default, the API server sets no maximum. A pod-bound request for 3607 s "
            "looks like an hour and yields a year; only the kubelet has a reason to ask for it."
        ),
        techniques=("T1552.007", "T1098"),
        tactics=("credential-access", "persistence"),
        references=(
            "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/",
            "https://attack.mitre.org/techniques/T1098/",
        ),
        false_positives=(
            "pipelines and clusters outside that were given a token of weeks: raise the threshold, or shorten them",
            "vcluster, which asks for ten years; RKE2 on Windows nodes, which asks for one",
        ),
        blind_spots=(
            "level Metadata: lifetimes are not logged",
            "a kubelet: a pod's author can have it ask for a long lifetime, bound to that pod",
            "many short tokens, each minted with the one before",
        ),
        response=(
            "Ask the caller what the token is for. If nothing: delete the object it is bound to, or delete and "
            "recreate the service account; waiting for it to expire is not enough. Then set the API server's "
            "--service-account-max-token-expiration."
        ),
    )
    watches = MINTS
    traits = Traits(body="the lifetime is in the request's body")

    def __init__(
        self,
        threshold: timedelta = timedelta(hours=24),
        high_from: timedelta = timedelta(days=7),
        *,
        api_audiences: Collection[str] = (),
    ) -> None:
        given: tuple[object, object] = (threshold, high_from)
        if not all(isinstance(item, timedelta) for item in given) or not timedelta(0) < threshold <= high_from:
            raise ConfigError("threshold and high_from take timedeltas over nothing, high_from not the shorter one")
        self.threshold, self.high_from = threshold, high_from
        self.api_audiences = own_audiences(api_audiences)

    def matches(self, event: Event, /) -> bool:
        """Compare seconds: a request may ask for more of them than a timedelta can hold."""
        if not event.mints_token or (event.token_request is None and event.token_grant is None):
            return False
        return self._lifetime(event)[0] > self.threshold.total_seconds()

    def describe(self, event: Event, /) -> Finding:
        """Say how long the token lives, and whether the API server extends what was asked for."""
        seconds, extended = self._lifetime(event)
        asked, granted = _asked(event), _granted(event)
        terms = f"{asked} s, which the API server extends to " * extended + f"{seconds} s, {seconds / 86400:.3g} days"
        return self.finding(
            event,
            f"{minted(event)}: {terms}",
            *lifetime_evidence(event),
            severity=Severity.HIGH if seconds >= self.high_from.total_seconds() else None,
            caveats=(
                *unseen_body(event),
                *(("a cap of the server's would not show: no answer was logged",) * (granted is None)),
            ),
        )

    def _lifetime(self, event: Event) -> tuple[int, bool]:
        """Return the seconds, 0 where nothing is known, and whether the API server extends what was asked for."""
        granted = _granted(event)
        lifetime = _asked(event) if granted is None else granted  # the server may cap what was asked
        extended = lifetime == EXTENDED_EXPIRATION and self._is_extended(event.token_request)
        return (EXTENDED_TO if extended else lifetime or 0), extended

    def _is_extended(self, spec: TokenRequestSpec | None) -> bool:
        own = spec is not None and all(is_api_server(audience, self.api_audiences) for audience in spec.audiences)
        return own and is_extended(spec)


def _asked(event: Event) -> int | None:
    return event.token_request.expiration_seconds if event.token_request else None


def _granted(event: Event) -> int | None:
    return event.token_grant.spec.expiration_seconds if event.token_grant and event.token_grant.spec else None
