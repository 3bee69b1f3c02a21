# SPDX-License-Identifier: Apache-2.0
"""What a call in a cloud did, in plain words, how bad it is, and what to do about it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from k8stokendetect.clouds.call import CloudCall
from k8stokendetect.detectors.cloud_acts import only_asks, why_bad
from k8stokendetect.findings import EventRef
from k8stokendetect.incidents.step import Step
from k8stokendetect.words import call_of, listed, named

NAMES: Final = {"aws": "AWS", "azure": "Azure", "google": "Google Cloud"}

_ROLE: Final = re.compile(r"arn:[a-z-]+:iam::(\d{12}):role/(?:[\x21-\x7e]*/)?([\w+=,.@-]{1,64})", re.ASCII)
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"""

_KEY: Final = re.compile(r"[A-Z0-9]{16,128}")

_USER: Final = re.compile(r"[\w+=,.@][\w+=,.@-]{0,63}", re.ASCII)
"""A user's name, https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateUser.html; no option begins so."""

_MOST: Final = 5


def credentials_of(ref: EventRef, /) -> Iterator[str]:
    """Yield the ids of the credentials that a request was made with, and that it issued."""
    keys = (ref.cloud.used, ref.cloud.issued) if ref.cloud is not None and ref.cloud.cloud == "aws" else ()
    yield from filter(None, (ref.used_credential, ref.minted_credential, *keys))


def done_in_cloud(ref: EventRef, cloud: CloudCall, /) -> str:
    """Say what a call did, or tried: `became role payments in AWS`, `called s3 GetObject on bucket/key`."""
    where = f" in {NAMES.get(cloud.cloud, named(cloud.cloud))}"
    if cloud.kind:
        text = "assumed" if cloud.kind == "role" else "exchanged a token for"
        tried = "assume" if cloud.kind == "role" else "exchange a token for"
        what = f"role {named(_role_name(cloud.role))}" if cloud.role else "credentials"
    else:
        text, tried = "called", "call"
        what = call_of(ref)
        where = "" if ref.resource else where
    if cloud.error:
        return f"tried to {tried} {what}{where} (refused, {named(cloud.error)})"
    return f"{text} {what}{where}"


def _role_name(role: str) -> str:
    found = _ROLE.fullmatch(role)
    return found[2] if found else role


def weight_in_cloud(ref: EventRef, cloud: CloudCall, /) -> int:
    """Return how bad a call of this kind is where it succeeds, as `deeds.weight` does."""
    if only_asks(ref.verb):
        return 0
    if cloud.kind:
        return 2
    return 5 if why_bad(cloud.cloud, ref.resource, ref.verb) else 3


def cloud_steps(refs: Sequence[EventRef], /) -> Iterator[Step]:
    """Say how to end the sessions of each role that was assumed, and what to look at next."""
    calls = [(ref, ref.cloud) for ref in refs if ref.cloud is not None and ref.succeeded]
    exchanges = [(ref, cloud) for ref, cloud in calls if cloud.kind]
    for role in dict.fromkeys(cloud.role for _, cloud in exchanges if cloud.cloud == "aws" and cloud.role):
        yield _revoke(role)
    for principal in dict.fromkeys(ref.user for ref, cloud in exchanges if cloud.cloud == "google"):
        yield Step(
            f"Take from {named(principal)} what it may do in Google Cloud: its roles, and roles/"
            "iam.workloadIdentityUser on service accounts. Issued tokens expire within an hour."
        )
    for ref, cloud in exchanges:
        if cloud.cloud == "azure":
            yield Step(f"Delete the federated credential of application {named(cloud.role)} for {named(ref.user)}.")
    keys = dict.fromkeys(cloud.issued for _, cloud in exchanges if cloud.cloud == "aws" and cloud.issued)
    regions = {cloud.issued: ref.region or "" for ref, cloud in exchanges}
    for key in list(keys)[:_MOST]:
        if _KEY.fullmatch(key):
            yield Step(f"Look at everything that was done with key {key}, in each region:", _look(key, regions[key]))
    yield from _bad(calls)


def _revoke(role: str) -> Step:
    """Deny all that was issued before now.

    The policy and its name are those of IAM's "Revoke sessions":
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
    """
    found = _ROLE.fullmatch(role)
    if found is None:
        return Step(f"Revoke the sessions of role {named(role)} (IAM, Revoke sessions).")
    deny = {"Effect": "Deny", "Action": ["*"], "Resource": ["*"]}
    until = {"Condition": {"DateLessThan": {"aws:TokenIssueTime": "NOW"}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny | until]}, separators=(",", ":"))
    before, _, after = policy.partition("NOW")
    document = f'{shlex.quote(before)}"$(date -u +%Y-%m-%dT%H:%M:%SZ)"{shlex.quote(after)}'
    name = shlex.quote(found[2])  # behind `=`: a role may be called `--debug`
    return Step(
        f"Revoke the sessions of role {named(found[2])} in account {found[1]}: everything issued until now is denied, "
        "including the sessions of its pods, which then get new ones:",
        f"aws iam put-role-policy --role-name={name} --policy-name AWSRevokeOlderSessions --policy-document {document}",
    )


def _look(key: str, region: str) -> str:
    """Search CloudTrail by key: https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupAttribute.html."""
    place = f" --region={shlex.quote(region)}" if region else ""
    return f"aws cloudtrail lookup-events --lookup-attributes AttributeKey=AccessKeyId,AttributeValue={key}{place}"


def _bad(calls: Iterable[tuple[EventRef, CloudCall]]) -> Iterator[Step]:
    bad = [(ref, cloud, why) for ref, cloud in calls if (why := why_bad(cloud.cloud, ref.resource, ref.verb))]
    read = [named(ref.name or ref.verb) for ref, _, why in bad if why == "reads secrets"]
    others = [(ref, cloud) for ref, cloud, why in bad if why != "reads secrets"]
    if read:
        yield Step(f"Rotate the secrets that were read in the cloud: {listed(read)}.")
    keys = dict.fromkeys(ref.name for ref, cloud in others if _makes_key(ref, cloud))
    for user in list(keys)[:_MOST]:
        command = f"aws iam list-access-keys --user-name {shlex.quote(user)}"
        yield Step(f"Find and delete the access key that was made for user {user}:", command)
    told = set(list(keys)[:_MOST])
    rest = [done_in_cloud(ref, cloud) for ref, cloud in others if not (_makes_key(ref, cloud) and ref.name in told)]
    if rest:
        yield Step(f"Check and undo what was done in the cloud: {listed(rest)}.")


def _makes_key(ref: EventRef, cloud: CloudCall) -> bool:
    """Tell whether a call made an access key for a user whose name a command can hold."""
    call = (cloud.cloud, ref.resource.removesuffix(".amazonaws.com"), ref.verb)
    return call == ("aws", "iam", "CreateAccessKey") and _USER.fullmatch(ref.name) is not None
