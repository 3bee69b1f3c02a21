# SPDX-License-Identifier: Apache-2.0
"""What clouds log of the credentials that a Kubernetes token was exchanged for: `CloudEvent`, `Caller`, `Exchange`."""

from k8stokendetect.clouds.event import CLOUDS, Caller, Cloud, CloudEvent, Exchange, ExchangeKind, normalised_issuer

__all__ = ["CLOUDS", "Caller", "Cloud", "CloudEvent", "Exchange", "ExchangeKind", "normalised_issuer"]
