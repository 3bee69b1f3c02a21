# SPDX-License-Identifier: Apache-2.0
"""What clouds log of the credentials that a Kubernetes token was exchanged for: `CloudEvent`, `Caller`, `Exchange`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8stokendetect.clouds.cloudtrail import parse_cloudtrail
from k8stokendetect.clouds.entra import parse_sign_in
from k8stokendetect.clouds.event import CLOUDS, Caller, Cloud, CloudEvent, Exchange, ExchangeKind, normalised_issuer
from k8stokendetect.clouds.google import parse_google


def parse_cloud_event(
    record: Mapping[str, Any],
    cloud: Cloud,
    origin: str | None = None,
    /,
    *,
    account: str | None = None,
    region: str | None = None,
    day_first: bool | None = None,
) -> CloudEvent:
    """Make a CloudEvent of a record of a cloud's log, as that cloud writes it.

    Arguments:
        record: a record of CloudTrail, a sign-in of Entra ID, or an entry of Cloud Audit Logs; it is not changed.
        cloud: whose it is.
        origin: file and line, for errors and findings.
        account: the AWS account that a wrapper named.
        region: the region that a wrapper named.
        day_first: how a date such as 12/11/2026 is meant; None refuses it.

    Raises:
        ReadError: when it is not such a record, or a field has a wrong type; says the JSON path, and no value.

    """
    if cloud == "aws":
        return parse_cloudtrail(record, origin=origin, account=account, region=region)
    if cloud == "azure":
        return parse_sign_in(record, origin=origin, day_first=day_first)
    return parse_google(record, origin=origin)


__all__ = [
    "CLOUDS",
    "Caller",
    "Cloud",
    "CloudEvent",
    "Exchange",
    "ExchangeKind",
    "normalised_issuer",
    "parse_cloud_event",
]
