# SPDX-License-Identifier: Apache-2.0
"""The Open Cybersecurity Schema Framework: Detection Finding (2004) and Incident Finding (2005), for Security Lake."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from k8stokendetect.errors import ConfigError
from k8stokendetect.findings import Finding
from k8stokendetect.incidents import Alert, Incident
from k8stokendetect.outputs.ocsf_finding import DEFAULT_VERSION, VERSIONS, Version, detection_document
from k8stokendetect.outputs.ocsf_incident import incident_document
from k8stokendetect.outputs.size import bounded, one_line
from k8stokendetect.outputs.values import given, without_empty


def to_ocsf(
    item: Alert | Finding | Incident, /, *, observed: datetime | None = None, version: Version = DEFAULT_VERSION
) -> dict[str, Any]:
    """Return an alert or a finding as an OCSF Detection Finding, an incident as an Incident Finding; nothing is empty.

    The request and the related ones are `evidences`, in this order. What is excluded is `Suppressed` and no alert. The
    profile `cloud` has the cloud, its account and its region, where the log told one of them. What OCSF has no
    attribute for is in `unmapped`. A document of more than 64 KiB is cut, and `unmapped.left_out` says what of.

    Arguments:
        item: what to say.
        observed: the time to give where the record has none, such as when it was read; by default the beginning of
            1970. `finding_info.first_seen_time` is only there where a time was logged.
        version: of the schema. From 1.6 on, a credential's id is in `actor.user.programmatic_credentials`, until then
            in `actor.user.credential_uid`.

    Raises:
        ConfigError: when the version is another one.

    """
    if version not in VERSIONS:
        raise ConfigError(f"OCSF {version} is not one of {', '.join(VERSIONS)}")
    if isinstance(item, Incident):
        document, left = incident_document(item, observed, version)
        return bounded(without_empty(document), _note, left)
    document = bounded(without_empty(detection_document(item, observed, version)), _note)
    places = tuple(f"evidences[{number}]." for number in range(len(document["evidences"])))
    kept = (*places, "unmapped.", "resources[")
    return given(
        **{**document, "observables": [one for one in document.get("observables", ()) if one["name"].startswith(kept)]}
    )


def _note(document: dict[str, Any], left_out: list[dict[str, Any]]) -> None:
    document["unmapped"] = {**document.get("unmapped", {}), "left_out": left_out}


def to_ocsf_line(
    item: Alert | Finding | Incident, /, *, observed: datetime | None = None, version: Version = DEFAULT_VERSION
) -> str:
    """Return one line of an OCSF event in printable ASCII, without the line end; see `to_ocsf`."""
    return one_line(to_ocsf(item, observed=observed, version=version))
