# SPDX-License-Identifier: Apache-2.0
"""An API server that lists objects in pages and refuses as the real one does; on loopback, and it stops by itself."""

from __future__ import annotations

import functools
import importlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]
RESOURCES = {
    "serviceaccounts": "ServiceAccount",
    "pods": "Pod",
    "roles": "Role",
    "rolebindings": "RoleBinding",
    "clusterroles": "ClusterRole",
    "clusterrolebindings": "ClusterRoleBinding",
}


def refusal(code: int, message: str, **more: Any) -> Answer:
    """Make what the API server answers instead of a list."""
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message} | more


class ListingServer:
    """What the server has, and what was asked of it.

    Arguments:
        items: the objects.
        special: called with resource, namespace and the query before anything else; an answer of its own, or None.

    """

    def __init__(
        self, items: list[dict[str, Any]], special: Callable[[str, str, Mapping[str, str]], Answer | None] | None = None
    ) -> None:
        self.items = items
        self.asked: list[str] = []
        self._special = special or (lambda *_: None)

    def answer(self, target: str) -> Answer:
        """Answer a GET request."""
        self.asked.append(target)
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        *before, resource = parts.path.strip("/").split("/")
        namespace = before[-1] if "namespaces" in before else ""
        special = self._special(resource, namespace, query)
        if special is not None:
            return special
        kind = RESOURCES[resource]
        found = [
            {
                key: value for key, value in one.items() if key not in {"kind", "apiVersion"}
            }  # as the server writes lists
            for one in self.items
            if one["kind"] == kind and (not namespace or one["metadata"].get("namespace") == namespace)
        ]
        start, limit = int(query.get("continue", "0")), int(query.get("limit", len(found) + 1))
        metadata = {"continue": str(start + limit)} if start + limit < len(found) else {}
        version = "v1" if resource in {"serviceaccounts", "pods"} else "rbac.authorization.k8s.io/v1"
        return 200, {
            "kind": f"{kind}List",
            "apiVersion": version,
            "metadata": metadata,
            "items": found[start : start + limit],
        }


@functools.cache
def official() -> Any:
    """Import the official client, in a thread of its own: in a stack as deep as a test's it takes ten times as long.

    With jsonschema's extra `format-nongpl` it parses 39 grammars; its types differ from version to version.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(importlib.import_module, "kubernetes.client").result()


@contextmanager
def serving(server: ListingServer) -> Iterator[str]:
    """Serve on loopback; yields the address."""
    official()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = server.answer(self.path)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of a client that has given up."""

    http = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def kubeconfig(folder: Path, address: str, name: str = "prod") -> Path:
    """Write a kubeconfig with one context, and a token that must not be seen."""
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": SECRET}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


SECRET = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"  # noqa: S105 - none that works
