# SPDX-License-Identifier: Apache-2.0
"""Reads a cluster's objects from its API server through the official client, with a context of the kubeconfig.

Lists only, in pages (kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks);
nothing is written, neither to the cluster nor to the kubeconfig. `RULES` are the rights that it needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from k8stokendetect.cluster import Cluster
from k8stokendetect.cluster.rbac import RBAC_GROUP, PolicyRule
from k8stokendetect.convert.credentials import clean_text
from k8stokendetect.errors import ConfigError, OnReadError, ReadError, raise_error

RULES: Final = (
    PolicyRule(("list",), ("",), ("serviceaccounts", "pods")),
    PolicyRule(("list",), (RBAC_GROUP,), ("roles", "rolebindings", "clusterroles", "clusterrolebindings")),
)
"""The rights that a live read needs, in every namespace."""

PAGE: Final = 500
"""Number of objects that are asked for at once, as kubectl does."""

TIMEOUT: Final = 30.0
"""Seconds to wait for the next part of an answer; every request is made twice at most."""

_LONGEST: Final = 300


class _Kind(NamedTuple):
    """Objects of one kind, and what of the client lists them: in every namespace, and in one."""

    resource: str
    api: str
    everywhere: str
    in_namespace: str = ""


_KINDS: Final = (
    _Kind("clusterrolebindings", "RbacAuthorizationV1Api", "list_cluster_role_binding"),
    _Kind("clusterroles", "RbacAuthorizationV1Api", "list_cluster_role"),
    _Kind(
        "rolebindings",
        "RbacAuthorizationV1Api",
        "list_role_binding_for_all_namespaces",
        "list_namespaced_role_binding",
    ),
    _Kind("roles", "RbacAuthorizationV1Api", "list_role_for_all_namespaces", "list_namespaced_role"),
    _Kind(
        "serviceaccounts",
        "CoreV1Api",
        "list_service_account_for_all_namespaces",
        "list_namespaced_service_account",
    ),
    _Kind("pods", "CoreV1Api", "list_pod_for_all_namespaces", "list_namespaced_pod"),
)


def load_live(
    context: str | None = None,
    *,
    kubeconfig: str | os.PathLike[str] | None = None,
    namespace: str = "",
    timeout: float = TIMEOUT,
    page: int = PAGE,
    on_error: OnReadError = raise_error,
) -> Cluster:
    """Read a cluster's service accounts, roles, bindings and pods from its API server.

    Arguments:
        context: of the kubeconfig; by default its current one.
        kubeconfig: the file; by default what KUBECONFIG names, or ~/.kube/config.
        namespace: where to look for what may not be listed in every namespace; a ReadError with a path tells that.
        timeout: seconds to wait for the next part of an answer.
        page: number of objects that are asked for at once.
        on_error: called with a ReadError for each kind that could not be read: the cluster is then incomplete. Also
            for objects, as in `Cluster.load`; these errors have a path.

    Raises:
        ReadError: with the default `on_error`.
        ConfigError: when the client is not installed, or there is no such context.

    """
    where = f"context {clean_text(context)}" if context else "the current context"
    api = _connected(context, kubeconfig, where)
    pages: list[Mapping[str, Any]] = []
    reader = _Reader(api, where, timeout, page, on_error)
    for index, kind in enumerate(_KINDS):
        try:
            pages.extend(reader.read(kind, namespace))
        except _UnreachableError as error:
            left = ", ".join(one.resource for one in _KINDS[index:])
            on_error(ReadError(f"{error}; not read: {left}", where))
            break
    return Cluster.load(*pages or [{"apiVersion": "v1", "kind": "List", "items": []}], on_error=on_error)


class _UnreachableError(Exception):
    """The server does not answer, or not to this credential: no kind can be read."""


class _RefusedError(Exception):
    """One kind could not be read; says why."""


class _Reader:
    """Lists objects, page by page."""

    def __init__(self, api: Any, where: str, timeout: float, page: int, on_error: OnReadError) -> None:
        self._api = api
        self._where = where
        self._timeout = timeout
        self._page = page
        self._on_error = on_error

    def read(self, kind: _Kind, namespace: str) -> Iterator[Mapping[str, Any]]:
        """Yield the pages of a kind; where it may not be listed everywhere, those of one namespace."""
        try:
            yield from self._pages(kind.resource, self._method(kind, kind.everywhere))
        except _RefusedError as error:
            if not (namespace and kind.in_namespace and str(error).startswith("403")):
                self._on_error(ReadError(f"{kind.resource} cannot be listed: {error}", self._where))
                return
        else:
            return
        lister = self._method(kind, kind.in_namespace)
        try:
            yield from self._pages(kind.resource, lambda **options: lister(namespace, **options))
        except _RefusedError as error:
            self._on_error(ReadError(f"{kind.resource} of {namespace} cannot be listed: {error}", self._where))
        else:
            reason = f"only those of {namespace} may be listed: an account may be more valuable than shown"
            self._on_error(ReadError(reason, self._where, kind.resource))

    def _method(self, kind: _Kind, name: str) -> Callable[..., Any]:
        from kubernetes import client  # noqa: PLC0415 - optional, and slow to import

        method: Callable[..., Any] = getattr(getattr(client, kind.api)(self._api), name)
        return method

    def _pages(self, resource: str, lister: Callable[..., Any]) -> Iterator[Mapping[str, Any]]:
        """Yield every page; from the start and in one piece when the server has forgotten where it was (410)."""
        found: list[Mapping[str, Any]] = []
        seen: set[str] = set()
        options: dict[str, Any] = {"limit": self._page}
        while True:
            try:
                page = self._asked(lister, options)
            except _ExpiredError:
                if "limit" not in options:
                    raise _RefusedError("410: the server ends each list early") from None
                found, options = [], {}
                continue
            found.append(_slim(page))
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                yield from found
                return
            if following in seen:
                raise _RefusedError(f"the server repeated a page of {resource}")
            seen.add(following)
            options = {"limit": self._page, "_continue": following}

    def _asked(self, lister: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - optional
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - comes with it

        try:
            wait = (self._timeout, self._timeout)  # to connect, to read: older clients ignore a single float
            response = lister(**options, _preload_content=False, _request_timeout=wait)
            page = msgspec.json.decode(response.data)
        except ApiException as error:
            raise _answered(error) from None
        except (HTTPError, OSError) as error:
            raise _UnreachableError(_unreachable(error, self._timeout)) from None
        except msgspec.MsgspecError:
            raise _RefusedError("the answer is not JSON") from None
        if not isinstance(page, dict) or not isinstance(page.get("items") or [], list):
            raise _RefusedError("the answer is not a list")
        return page


class _ExpiredError(Exception):
    """The server has forgotten where a list was continued (410)."""


def _answered(error: Any) -> Exception:
    """Return what an answer other than 200 means; the server's own words are kept, without credentials."""
    try:
        body = msgspec.json.decode(error.body or b"{}")
    except msgspec.MsgspecError:
        body = None
    said = body.get("message") if isinstance(body, dict) else None
    words = clean_text(str(said or error.reason or "no reason given")[:_LONGEST])
    if error.status == 410:  # noqa: PLR2004 - HTTP's Gone
        return _ExpiredError()
    if not error.status:
        return _UnreachableError(f"the API server cannot be reached: {words}")
    if error.status == 401:  # noqa: PLR2004 - HTTP's Unauthorized
        return _UnreachableError("the API server does not accept the credential (401)")
    return _RefusedError(f"{error.status} {words}")


def _unreachable(error: Exception, timeout: float) -> str:
    """Say in a line why there was no answer; the library's own text has the URL and objects of Python."""
    text = str(error)
    if "timed out" in text or "Timeout" in text:
        return f"the API server does not answer within {timeout:g} s"
    for part in ("Connection refused", "certificate verify failed", "Name or service not known", "No route to host"):
        if part.lower() in text.lower():
            return f"the API server cannot be reached: {part.lower()}"
    return f"the API server cannot be reached: {type(error).__name__}"


def _slim(page: dict[str, Any]) -> dict[str, Any]:
    """Drop what is large and not looked at, and where the list continues: its other pages are read."""
    for item in page.get("items") or ():
        if isinstance(item, dict):
            item.pop("status", None)
            metadata = item.get("metadata")
            if isinstance(metadata, dict):
                metadata.pop("managedFields", None)
    return page | {"items": page.get("items") or [], "metadata": {}}


def _connected(context: str | None, kubeconfig: str | os.PathLike[str] | None, where: str) -> Any:
    try:
        from kubernetes import client, config  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise ConfigError(
            "reading a cluster needs the package kubernetes: pip install 'k8stokendetect[live]'"
        ) from None
    configuration = client.Configuration()
    configuration.retries = 1
    connect: Any = config.new_client_from_config
    try:
        return connect(
            os.fspath(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG") or None,
            context,
            persist_config=False,
            client_configuration=configuration,
        )
    except Exception as error:  # noqa: BLE001 - whatever is wrong in a kubeconfig, or fails in its exec plug-in
        reason = clean_text(" ".join(str(error)[:_LONGEST].split())) or type(error).__name__
        raise ConfigError(f"{where}: the kubeconfig cannot be used: {reason}") from None
