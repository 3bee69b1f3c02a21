# SPDX-License-Identifier: Apache-2.0
"""Makes a CloudEvent of a record of AWS CloudTrail.

Sources of the fields: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
and cloudtrail-event-reference-user-identity.html; of the exchanges see `aws_exchanges`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from k8stokendetect.clouds.aws_exchanges import Call, exchange_of
from k8stokendetect.clouds.event import Caller, CloudEvent
from k8stokendetect.clouds.restored import object_of, restored, service_of
from k8stokendetect.clouds.wire import cleaners, required_time, structured
from k8stokendetect.convert.converter import go_name
from k8stokendetect.errors import ReadError

_NAMES: Final = {
    "source_ip_address": "sourceIPAddress",
    "event_id": "eventID",
    "shared_event_id": "sharedEventID",
    "upper_arn": "ARN",
}


def _name(field: str) -> str:
    return _NAMES.get(field) or go_name(field)


class _Issuer(msgspec.Struct, gc=False):
    arn: str | None = None


class _Federation(msgspec.Struct, gc=False, rename=_name):
    federated_provider: str | None = None


class _Context(msgspec.Struct, gc=False, rename=_name):
    session_issuer: _Issuer | None = None
    web_id_federation_data: _Federation | None = None


class _Identity(msgspec.Struct, gc=False, rename=_name):
    type: str | None = None
    principal_id: str | None = None
    arn: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None
    user_name: str | None = None
    invoked_by: str | None = None
    identity_provider: str | None = None
    session_context: _Context | None = None


class _Resource(msgspec.Struct, gc=False, rename=_name):
    upper_arn: str | None = None
    arn: str | None = None


class _Record(msgspec.Struct, gc=False, rename=_name):
    event_time: str
    event_source: str
    event_name: str
    event_id: str
    user_identity: _Identity | None = None
    aws_region: str | None = None
    source_ip_address: str | None = None
    user_agent: str | None = None
    error_code: str | None = None
    request_parameters: dict[str, Any] | None = None
    response_elements: dict[str, Any] | None = None
    read_only: bool | None = None
    resources: list[_Resource] | None = None
    recipient_account_id: str | None = None
    shared_event_id: str | None = None


def parse_cloudtrail(
    record: Mapping[str, Any], /, *, origin: str | None = None, account: str | None = None, region: str | None = None
) -> CloudEvent:
    """Make a CloudEvent of one record of CloudTrail.

    Of the request and the answer only the names of what was acted on are kept, and of credentials that were issued only
    the access key's id and when they expire.

    Arguments:
        record: the decoded JSON object; it is not changed.
        origin: file and line, for errors and findings.
        account: the AWS account, where the record does not say so.
        region: the region, likewise.

    Raises:
        ReadError: when it is not such a record, or a field has a wrong type; says the JSON path.

    """
    found = _fields(record)
    time = required_time(found.event_time, "$.eventTime")
    identity = found.user_identity or _Identity()
    resources = tuple(dict.fromkeys(_resources(found)))
    clean, clean_id = cleaners((*_texts(found), *_texts_of(identity), *resources))
    caller = _caller(identity, clean_id)
    call = Call(
        service=service_of(found.event_source),
        action=found.event_name,
        identity_provider=clean_id(identity.identity_provider),
        principal_id=clean_id(identity.principal_id),
        request=found.request_parameters,
        answer=found.response_elements,
    )
    return CloudEvent(
        id=clean_id(found.event_id),
        time=time,
        cloud="aws",
        action=clean_id(found.event_name),
        service=clean_id(service_of(found.event_source)),
        account=clean_id(found.recipient_account_id) or account or caller.account,
        region=clean_id(found.aws_region) or region or "",
        error=clean_id(found.error_code),
        source_ip=clean(found.source_ip_address),
        user_agent=clean(found.user_agent),
        caller=caller,
        exchange=exchange_of(call, caller),
        resources=tuple(map(clean, resources)),
        read_only=found.read_only,
        shared_id=clean_id(found.shared_event_id),
        origin=origin,
    )


def _fields(record: Mapping[str, Any]) -> _Record:
    try:
        return structured(record, _Record)
    except ReadError:
        pass
    return structured(restored(record), _Record)


def _texts(found: _Record) -> tuple[str | None, ...]:
    return (
        *(found.event_source, found.event_name, found.event_id, found.aws_region, found.source_ip_address),
        *(found.user_agent, found.error_code, found.recipient_account_id, found.shared_event_id),
    )


def _texts_of(identity: _Identity) -> Iterator[str | None]:
    yield from (identity.type, identity.principal_id, identity.arn, identity.account_id, identity.access_key_id)
    yield from (identity.user_name, identity.invoked_by, identity.identity_provider)
    if (context := identity.session_context) is not None:
        yield context.session_issuer.arn if context.session_issuer else None
        yield context.web_id_federation_data.federated_provider if context.web_id_federation_data else None


def _caller(identity: _Identity, clean_id: Callable[[str | None], str]) -> Caller:
    context = identity.session_context or _Context()
    issuer, federation = context.session_issuer or _Issuer(), context.web_id_federation_data or _Federation()
    arn = clean_id(identity.arn)
    return Caller(
        principal=arn or clean_id(identity.principal_id),
        kind=clean_id(identity.type),
        name=clean_id(identity.user_name),
        account=clean_id(identity.account_id),
        access_key=clean_id(identity.access_key_id),
        session=arn if identity.type == "AssumedRole" else "",
        role=clean_id(issuer.arn),
        provider=clean_id(federation.federated_provider),
        invoked_by=clean_id(identity.invoked_by),
    )


_NAMED: Final = (
    *("secretId", "userName", "roleName", "roleArn", "groupName", "policyName", "policyArn", "accessKeyId"),
    *("instanceId", "imageId", "snapshotId", "volumeId", "dBSnapshotIdentifier", "dBInstanceIdentifier"),
    *("keyId", "functionName", "trailName", "name", "names", "detectorId", "logGroupName", "instanceProfileName"),
    *("clusterName", "openIDConnectProviderArn", "parameterName", "secretIdList", "instanceIds", "target"),
)
"""Parameters that name what a call acts on, as CloudTrail writes them.

Sources: https://github.com/DataDog/stratus-red-team, docs/detonation-logs (real records of the calls of attacks);
https://github.com/elastic/detection-rules, rules/integrations/aws (the parameters that rules ask for).
"""

_LONGEST_ARN: Final = 4096
"""A longer text is not a name; it is a document, and so is a text in braces."""

_MADE: Final = (("accessKey", "accessKeyId"), ("user", "arn"), ("role", "arn"), ("snapshotId",), ("imageId",))
"""What an answer names that a call made."""


def _resources(record: _Record) -> Iterator[str]:
    """Yield the names of what a call acted on and of what it made."""
    for resource in record.resources or ():
        yield from _name_in(resource.upper_arn or resource.arn)
    request = record.request_parameters or {}
    bucket, key = request.get("bucketName"), request.get("key")
    if isinstance(bucket, str):
        yield from _name_in(f"{bucket}/{key}" if isinstance(key, str) else bucket)
    for parameter in _NAMED:
        if parameter in request:
            value = request[parameter]
            for item in value if isinstance(value, list) else [value]:
                yield from _name_in(item)
    yield from _instances(request.get("instancesSet"))
    for path in _MADE if record.response_elements else ():
        made: Any = record.response_elements
        for step in path:
            made = object_of(made)
            made = made.get(step) if isinstance(made, Mapping) else None
        yield from _name_in(made)


def _instances(value: Any) -> Iterator[str]:
    """Yield the instances of a call of EC2: `{"items": [{"instanceId": …}]}`."""
    value = object_of(value)
    items = value.get("items") if isinstance(value, Mapping) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping):
            yield from _name_in(item.get("instanceId"))


def _name_in(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value and len(value) <= _LONGEST_ARN:
        yield value
