# SPDX-License-Identifier: Apache-2.0
"""CloudCall: what findings keep of a call in a cloud besides what an EventRef has of every request."""

from __future__ import annotations

from datetime import datetime

import attrs

from k8stokendetect.bounds import cut, cut_text
from k8stokendetect.convert.structure import plain
from k8stokendetect.events import JsonValue
from k8stokendetect.reprs import with_short_repr


@with_short_repr
@attrs.frozen(kw_only=True)
class CloudCall:
    """A call in a cloud: which credentials it was made with, and which it issued. Texts are cut, see `bounds`.

    Arguments:
        cloud: `aws`, `azure` or `google`.
        error: the error's code; empty where the call succeeded.
        kind: how credentials were exchanged, see `clouds.ExchangeKind`; empty for any other call.
        used: names the credentials that the call was made with: the id of an AWS access key, an identifier and no
            secret; at Google the principal and its address.
        issued: names those that it issued, in the same way.
        role: what was asked for: a role's ARN, Google's service account, the id of an Azure application; for any other
            call the role of the session that made it.
        session_name: AWS's `roleSessionName`, which the caller chose.
        issuer: of the token, without `https://`.
        audience: of the token.
        pod_uid: of the pod, where EKS Pod Identity tells it.
        expires: when the issued credentials expire.
        read_only: the call changes nothing; None where the log does not say.

    """

    cloud: str
    error: str = attrs.field(default="", converter=cut)
    kind: str = attrs.field(default="", converter=cut)
    used: str = attrs.field(default="", converter=cut_text)
    issued: str = attrs.field(default="", converter=cut_text)
    role: str = attrs.field(default="", converter=cut_text)
    session_name: str = attrs.field(default="", converter=cut)
    issuer: str = attrs.field(default="", converter=cut_text)
    audience: str = attrs.field(default="", converter=cut_text)
    pod_uid: str = attrs.field(default="", converter=cut)
    expires: datetime | None = None
    read_only: bool | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return what is known of it, as JSON; the names are stable once released."""
        facts = attrs.asdict(self, recurse=False)
        return {name: plain(value) for name, value in facts.items() if value is not None and value != ""}
