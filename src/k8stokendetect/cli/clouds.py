# SPDX-License-Identifier: Apache-2.0
"""What the options about clouds mean: issuers of clusters, subjects of federated credentials in Azure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from k8stokendetect.detectors import Detector, MintedTokenExchanged, WebIdentityWithoutMint
from k8stokendetect.engine.cloud_lane import checked_subjects
from k8stokendetect.errors import ConfigError

LARGEST: Final = 64 * 1024 * 1024


def with_issuers(detectors: Iterable[Detector], issuers: Collection[str], /) -> list[Detector]:
    """Return detectors of which those that compare issuers know the cluster's; raises ConfigError for a wrong one."""
    kinds = (MintedTokenExchanged, WebIdentityWithoutMint)
    return [type(one)(issuers=issuers) if issuers and isinstance(one, kinds) else one for one in detectors]


def load_subjects(name: str | None, /) -> dict[str, str] | None:
    """Read the subjects of federated credentials in Azure.

    The list is Microsoft Graph's, with `id` and `subject`:
    https://learn.microsoft.com/en-us/graph/api/resources/federatedidentitycredential

    Raises:
        ConfigError: when the file cannot be read or is not such a list; says why.

    """
    if name is None:
        return None
    try:
        with Path(name).open("rb") as file:
            found = msgspec.json.decode(file.read(LARGEST))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise ConfigError(f"--azure-subjects {name}: {reason}") from None
    if isinstance(found, Mapping) and isinstance(found.get("value"), list):
        found = found["value"]
    if isinstance(found, list):
        try:
            found = {one["id"].rpartition("/")[2]: one["subject"] for one in found}
        except (TypeError, KeyError, AttributeError):
            raise ConfigError(f"--azure-subjects {name}: a credential has no `id` or no `subject`") from None
        found = {id_: subject for id_, subject in found.items() if str(subject).startswith("system:serviceaccount:")}
    try:
        return checked_subjects(found)
    except ConfigError as error:
        raise ConfigError(f"--azure-subjects {name}: {error}") from None
