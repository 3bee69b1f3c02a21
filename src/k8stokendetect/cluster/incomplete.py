# SPDX-License-Identifier: Apache-2.0
"""The error after which a snapshot may show fewer rights, or accounts, than the cluster has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8stokendetect.errors import ReadError


class IncompleteError(ReadError):
    """Objects that may grant rights, or whose tokens they give, are missing, or one could not be read."""


def left_on_server(page: Mapping[str, Any], /) -> str:
    """Say that a list is only its first part; empty for a whole one.

    Sources: https://docs.rs/kube-core/latest/kube_core/struct.ListMeta.html (`continue`, `remainingItemCount`; the
    Python client's dumps have `_continue`);
    https://docs.aws.amazon.com/eks/latest/APIReference/API_ListPodIdentityAssociations.html (`nextToken`);
    https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/eks/paginator/ListPodIdentityAssociations.html
    (`NextToken`).

    Arguments:
        page: a list as an API server or the AWS command line gives it.

    """
    metadata = page.get("metadata")
    fields = metadata if isinstance(metadata, Mapping) else {}
    remaining = fields.get("remainingItemCount")
    following = (fields.get("continue"), fields.get("_continue"), page.get("nextToken"), page.get("NextToken"))
    if not remaining and not any(following):
        return ""
    more = f"{remaining:,} more objects" if type(remaining) is int and remaining > 0 else "more objects"
    return f"the list is cut off, the server has {more}: read it without a limit, or join its pages"
