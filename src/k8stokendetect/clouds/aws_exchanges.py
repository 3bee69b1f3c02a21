# SPDX-License-Identifier: Apache-2.0
"""Finds out which credentials a call of AWS exchanged for which, from its CloudTrail record.

- `AssumeRoleWithWebIdentity`, `AssumeRole`, chained roles, federated users:
  https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html
- EKS Pod Identity makes two records: `AssumeRoleForPodIdentity`, by the node, whose token is hidden, and `AssumeRole`
  by `pods.eks.amazonaws.com`, whose session tags name the pod, unless the association has `disableSessionTags`. Both
  stand in AWS's EKS workshop, "Deep Dive into EKS Pod Identity"; the tags:
  https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from k8stokendetect.clouds.event import Caller, Exchange, ExchangeKind
from k8stokendetect.clouds.restored import number_of, object_of
from k8stokendetect.clouds.wire import clean, clean_id, text_at, time_or_none
from k8stokendetect.errors import ReadError

_STS: Final = "sts.amazonaws.com"
_EKS_AUTH: Final = "eks-auth.amazonaws.com"
_POD_IDENTITY: Final = "pods.eks.amazonaws.com"
_KINDS: Final[dict[tuple[str, str], ExchangeKind]] = {
    (_STS, "assumerolewithwebidentity"): "web identity",
    (_STS, "assumerole"): "role",
    (_STS, "assumeroot"): "role",
    (_STS, "getsessiontoken"): "session",
    (_STS, "getfederationtoken"): "session",
    (_EKS_AUTH, "assumeroleforpodidentity"): "pod identity",
}
_PROVIDER: Final = ":oidc-provider/"
_REQUEST: Final = "$.requestParameters"
_ANSWER: Final = "$.responseElements"


@attrs.frozen
class Call:
    """What a record says about a call besides its caller.

    Arguments:
        service: which was called.
        action: what was called.
        identity_provider: the caller's, as `userIdentity` has it.
        principal_id: the caller's.
        request: the parameters.
        answer: the elements of the answer.

    """

    service: str
    action: str
    identity_provider: str
    principal_id: str
    request: dict[str, Any] | None
    answer: dict[str, Any] | None


def exchange_of(call: Call, caller: Caller, /) -> Exchange | None:
    """Return what was exchanged; None for any other call.

    Raises:
        ReadError: when a part that tells of the exchange has another type; says the JSON path.

    """
    kind = _KINDS.get((call.service, call.action.lower()))
    if kind is None:
        return None
    if kind == "role" and _is_pod_identity(caller):
        kind = "pod identity"
    issued: dict[str, Any] = {
        "kind": kind,
        "role": clean_id(_first(call.request, _REQUEST, "roleArn", "targetPrincipal")),
        "session_name": clean(_first(call.request, _REQUEST, "roleSessionName", "name")),
        "duration_s": number_of((call.request or {}).get("durationSeconds")),
        "session": clean_id(_first(call.answer, _ANSWER, "assumedRoleUser.arn", "federatedUser.arn")),
        "issued_key": clean_id(_first(call.answer, _ANSWER, "credentials.accessKeyId")),
        "expires": time_or_none(_first(call.answer, _ANSWER, "credentials.expiration")),
    }
    if kind == "web identity":
        return Exchange(**issued, **_token(call, caller))
    if kind == "pod identity":
        return Exchange(**issued, **_pod(call, caller))
    return Exchange(**issued)


def _is_pod_identity(caller: Caller) -> bool:
    """Tell EKS Pod Identity itself; anyone else who assumes a role may choose the same session tags."""
    return caller.kind == "AWSService" and caller.invoked_by == _POD_IDENTITY


def _first(mapping: dict[str, Any] | None, path: str, *names: str) -> str:
    """Return the first of some texts that is there, by their paths."""
    return next(filter(None, (text_at(mapping, path, *name.split(".")) for name in names)), "")


def _token(call: Call, caller: Caller) -> dict[str, Any]:
    """Return issuer, subject and audience of a token.

    `principalId` is `PROVIDER:AUDIENCE:SUBJECT`. A refused call has no answer; Athena's table has no identityProvider.
    """
    subject = clean_id(_first(call.answer, _ANSWER, "subjectFromWebIdentityToken")) or caller.name
    provider = call.identity_provider or clean_id(_first(call.answer, _ANSWER, "provider"))
    audience = clean(_first(call.answer, _ANSWER, "audience"))
    before, colon, _ = call.principal_id.rpartition(f":{subject}") if subject else ("", "", "")
    if colon and not provider:
        provider, _, audience_there = before.rpartition(":")
        audience = audience or audience_there
    elif colon and before.startswith(f"{provider}:"):
        audience = audience or before[len(provider) + 1 :]
    issuer = provider.partition(_PROVIDER)[2] or provider
    return {"subject": subject, "provider": provider, "audience": audience, "issuer": issuer}


def _pod(call: Call, caller: Caller) -> dict[str, Any]:
    if call.service == _EKS_AUTH:
        cluster = clean_id(_first(call.request, _REQUEST, "clusterName"))
        return {"cluster": cluster, "node_session": caller.session, "audience": _POD_IDENTITY}
    tags = _tags(object_of((call.request or {}).get("tags")))
    return {
        "audience": _POD_IDENTITY,
        "cluster": tags.get("eks-cluster-arn") or tags.get("eks-cluster-name", ""),
        "namespace": tags.get("kubernetes-namespace", ""),
        "tagged_account": tags.get("kubernetes-service-account", ""),
        "pod_name": tags.get("kubernetes-pod-name", ""),
        "pod_uid": tags.get("kubernetes-pod-uid", ""),
    }


def _tags(value: Any) -> dict[str, str]:
    """Return session tags; none where the association was made with `disableSessionTags`."""
    if value is None:
        return {}
    if not isinstance(value, list):
        raise ReadError("expected a list", path=f"{_REQUEST}.tags")
    found: dict[str, str] = {}
    for index, tag in enumerate(value):
        path = f"{_REQUEST}.tags[{index}]"
        if not isinstance(tag, Mapping):
            raise ReadError("expected an object", path=path)
        found.setdefault(text_at(tag, path, "key"), clean_id(text_at(tag, path, "value")))
    return found
