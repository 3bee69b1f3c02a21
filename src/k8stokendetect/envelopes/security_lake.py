# SPDX-License-Identifier: Apache-2.0
"""CloudTrail in Amazon Security Lake: OCSF of any class, made a record of CloudTrail again.

Source: https://github.com/ocsf/examples, mappings/markdown/AWS, v1.1.0 and v1.5.0, CloudTrail (API Activity,
Authentication, Account Change): what has no place of its own stays in `unmapped`, under flat keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from k8stokendetect.convert.times import format_time
from k8stokendetect.envelopes import cells
from k8stokendetect.envelopes.base import Inner, text_of
from k8stokendetect.errors import ReadError
from k8stokendetect.input.decoding import NotJSONError, decode_whole

_PRODUCT: Final = "CloudTrail"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FEDERATED: Final = ("WebIdentityUser", "SAMLUser")
_TRUTH: Final = {"true": True, "false": False}


def recognises(record: Any, /) -> bool:
    """Tell a record of CloudTrail's by its product; the audit log of EKS has another."""
    if not isinstance(record, Mapping) or "class_uid" not in record or "auditID" in record:
        return False
    return text_of(record, "metadata", "product", "name") == _PRODUCT


def events(record: Any, /) -> Iterator[Inner]:
    """Yield the record of CloudTrail."""
    try:
        yield Inner(_record(record), cloud="aws")
    except _NotAnObjectError as error:
        yield Inner(ReadError("a part of an OCSF record of another form", path=f"$.{error}"))


class _NotAnObjectError(ValueError):
    """A part is not an object; the message is its path."""


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    unmapped = _unmapped(record.get("unmapped"))
    made = {
        "eventTime": _time(record),
        "eventSource": _at(record, "api.service.name"),
        "eventName": _at(record, "api.operation"),
        "eventID": _at(record, "metadata.uid"),
        "awsRegion": _at(record, "cloud.region"),
        "recipientAccountId": _first(record, "cloud.account.uid", "cloud.account_uid"),
        "sourceIPAddress": _first(record, "src_endpoint.ip", "src_endpoint.domain"),
        "userAgent": _at(record, "http_request.user_agent"),
        "errorCode": _at(record, "api.response.error"),
        "sharedEventID": unmapped.get("sharedEventID"),
        "readOnly": _truth(unmapped.get("readOnly")),
        "userIdentity": _identity(record),
        "resources": _resources(record.get("resources")),
        "requestParameters": _request(record, unmapped),
        "responseElements": _answer(record, unmapped),
    }
    return _given(made)


def _given(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


def _at(record: Any, path: str) -> Any:
    """Follow a path; None where it ends early.

    Raises:
        _NotAnObjectError: when a step of it is not an object.

    """
    walked: list[str] = []
    for step in path.split("."):
        if record is None:
            return None
        if not isinstance(record, Mapping):
            raise _NotAnObjectError(".".join(walked))
        record = record.get(step)
        walked.append(step)
    return record


def _first(record: Any, *paths: str) -> Any:
    return next((value for path in paths if (value := _at(record, path)) is not None), None)


def _unmapped(value: Any) -> Mapping[str, Any]:
    """Return what is left over; pyarrow makes pairs of a Parquet map."""
    if value is None:
        return {}
    if isinstance(value, list) and all(isinstance(item, list | tuple) and len(item) == 2 for item in value):  # noqa: PLR2004 - pairs
        return {str(key): item for key, item in value}
    if not isinstance(value, Mapping):
        raise _NotAnObjectError("unmapped")
    return value


def _truth(value: Any) -> Any:
    return _TRUTH.get(value, value) if isinstance(value, str) else value


def _time(record: Mapping[str, Any]) -> Any:
    """Return the time, from the text next to the number of milliseconds if there is one."""
    text, number = record.get("time_dt"), record.get("time")
    if text is not None or type(number) is not int:
        return number if text is None else text
    try:
        return format_time(_EPOCH + timedelta(milliseconds=number))
    except OverflowError:
        return number


def _identity(record: Mapping[str, Any]) -> dict[str, Any] | None:
    kind, provider = _at(record, "actor.user.type"), _at(record, "actor.idp.name")  # of the caller, or of its session
    uid, uuid = _at(record, "actor.user.uid"), _at(record, "actor.user.uuid")  # up to 1.0: the id, then the ARN
    arn = uid if uuid is None else uuid
    identity = {
        "type": kind,
        "principalId": _first(record, "actor.user.uid_alt") or (None if uuid is None else uid),
        "arn": arn,
        "accountId": _first(record, "actor.user.account.uid", "actor.user.account_uid"),
        "accessKeyId": _at(record, "actor.user.credential_uid"),
        "userName": _at(record, "actor.user.name"),
        "invokedBy": _at(record, "actor.invoked_by"),
        "identityProvider": provider if kind in _FEDERATED else None,
        "sessionContext": {
            "sessionIssuer": {"arn": _at(record, "actor.session.issuer")},
            "webIdFederationData": {"federatedProvider": None if kind in _FEDERATED else provider},
        },
    }
    return _given(identity)


def _resources(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [{"ARN": item.get("uid")} if isinstance(item, Mapping) else item for item in value]


def _request(record: Mapping[str, Any], unmapped: Mapping[str, Any]) -> Any:
    """Return the parameters; an Authentication has the role and its session's name as its user."""
    found = _body(record, unmapped, "request", "requestParameters")
    role, name = _at(record, "user.uid"), _at(record, "user.name")
    if found is None and isinstance(role, str) and ":role/" in role:
        return _given({"roleArn": role, "roleSessionName": name})
    return found


def _answer(record: Mapping[str, Any], unmapped: Mapping[str, Any]) -> Any:
    """Return the answer; an Authentication has the key and the session that were issued as its session."""
    found = _body(record, unmapped, "response", "responseElements")
    key, session = _at(record, "session.credential_uid"), _at(record, "session.uid")
    if key is None and session is None:
        return found
    if not isinstance(found, Mapping | None):
        return found
    made = {"credentials": {"accessKeyId": key}, "assumedRoleUser": {"arn": session}}
    return {**made, **(found or {})}


def _body(record: Mapping[str, Any], unmapped: Mapping[str, Any], which: str, name: str) -> Any:
    """Return a body: mapped as JSON text, or left over, whole or under flat keys."""
    value = _at(record, f"api.{which}.data")
    value = unmapped.get(name) if value is None else value
    if isinstance(value, str):
        try:
            return decode_whole(value) if value else None
        except NotJSONError:
            raise _NotAnObjectError(f"api.{which}.data") from None
    if value is not None:
        return value
    flat = [(key[len(name) + 1 :], item) for key, item in unmapped.items() if str(key).startswith(f"{name}.")]
    return cells.tree(flat) if flat else None
