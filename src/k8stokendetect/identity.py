# SPDX-License-Identifier: Apache-2.0
"""Parsing of Kubernetes' own strings: service account names, credential ids, request URIs."""

from __future__ import annotations

import json
import re
from typing import Final, Self
from urllib.parse import parse_qsl, unquote

import attrs

from k8stokendetect.reprs import with_short_repr

SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"
SERVICE_ACCOUNTS_GROUP: Final = "system:serviceaccounts"

CREDENTIAL_ID: Final = "authentication.kubernetes.io/credential-id"
"""Key in `user.extra` of every request made with a token (1.30) or certificate (1.32) that has an id."""

POD_NAME: Final = "authentication.kubernetes.io/pod-name"
"""Key in `user.extra` of a request made with a token that is bound to a pod."""

TRUNCATED: Final = "audit.k8s.io/truncated"
"""Annotation of an event whose bodies the truncating backend dropped, then `"true"`."""

ADMISSION: Final = frozenset(
    {
        "validatingadmissionpolicies",
        "mutatingadmissionpolicies",
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    }
)
"""Resources that can write audit annotations under a prefix of their own choice."""

FORGES_ANNOTATIONS: Final = frozenset(
    {"authentication.kubernetes.io", "authentication.k8s.io", "authorization.k8s.io", "audit.k8s.io"}
)
"""Prefixes of the API server's own annotations, which a policy of that name replaces (fact 36, measured)."""

LONGEST_AUDIT_ID: Final = 64
"""A UUID has 36 characters; the API server takes any Audit-ID header, and logs it whole (measured)."""

LEGACY_TOKEN: Final = "authentication.k8s.io/legacy-token"  # noqa: S105 - the key of an annotation
"""Annotation of a request made with a token from a Secret."""

LONGEST_HARMLESS: Final = 120
"""No usable token fits into this many characters: an RSA signature alone has 342, an ECDSA one 86."""

STRANGERS: Final = frozenset({"", "system:anonymous"})
"""Names of callers whom the API server did not authenticate: 401 is logged without a name."""

LEADERS: Final = {
    "system:kube-controller-manager": "kube-controller-manager",
    "system:cloud-controller-manager": "cloud-controller-manager",
}
"""The lease in kube-system that each identity holds while it works.

k8s.io/component-base config/v1alpha1 and cmd/kube-controller-manager/app/options (measured: it is renewed every two
seconds, with the certificate that mints); k8s.io/cloud-provider options/options.go.
"""

DECISION: Final = "authorization.k8s.io/decision"
"""Annotation: `allow` or `forbid`, written with `REASON`."""

REASON: Final = "authorization.k8s.io/reason"
"""Annotation: why a request was allowed, `""` by the Node authorizer or system:masters, otherwise the binding."""

ISSUED_CREDENTIAL_ID: Final = (
    "authentication.kubernetes.io/issued-credential-id",
    "authentication.k8s.io/issued-credential-id",
)
"""Annotation keys for the id of the token just issued.

The first is what 1.30 and later write (k8s.io/apiserver pkg/authentication/serviceaccount/util.go); the second is
KEP-4193's. 1.29 with the alpha gate wrote CREDENTIAL_ID (kubernetes#123098).
"""


@with_short_repr
@attrs.frozen
class ServiceAccount:
    """A service account by namespace and name; `str()` gives `namespace/name`."""

    namespace: str
    name: str

    @classmethod
    def of_username(cls, username: str, /) -> Self | None:
        """Parse `system:serviceaccount:NAMESPACE:NAME`; None for any other user name.

        Source: k8s.io/apiserver pkg/authentication/serviceaccount/util.go, SplitUsername.
        """
        if not username.startswith(SERVICE_ACCOUNT_PREFIX):
            return None
        namespace, colon, name = username.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
        return cls(namespace, name) if colon and namespace and name and ":" not in name else None

    @property
    def groups(self) -> tuple[str, str]:
        """The groups that the API server gives every token of this service account."""
        return (SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{self.namespace}")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def credential_kind(credential_id: str | None, /) -> str | None:
    """Return what kind of credential an id names: `JTI` (a token) or `X509SHA256` (a certificate).

    Source: k8s.io/apiserver pkg/authentication/serviceaccount/util.go and request/x509/x509.go:286.
    """
    return credential_id.partition("=")[0] if credential_id and "=" in credential_id else None


_QUOTED: Final = r'("(?:[^"\\]|\\.)*")'
_REASON: Final = re.compile(rf"RBAC: allowed by (ClusterRoleBinding|RoleBinding) {_QUOTED} of \w+ {_QUOTED} to (.+)")


@with_short_repr
@attrs.frozen
class ReasonedBinding:
    """The binding that the API server names as the reason to allow a request; `str()` gives kind and name.

    A RoleBinding is written "NAME/NAMESPACE" (kubernetes pkg/registry/rbac/validation/rule.go, roleBindingDescriber).
    """

    kind: str
    name: str
    namespace: str
    role: str
    subject: str
    quoted: str
    """Name and namespace as the API server wrote them."""

    @classmethod
    def of(cls, reason: str, /) -> Self | None:
        """Parse a reason; None when it names no binding."""
        match = _REASON.fullmatch(reason)
        if match is None:
            return None
        try:
            name, _, namespace = json.loads(match[2]).partition("/")
        except ValueError:
            return None
        return cls(match[1], name, namespace, match[3], match[4], match[2])

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


KNOWN_QUERY_PARAMETERS: Final = frozenset({"dryRun", "fieldManager", "fieldValidation", "pretty", "timeout"})
"""Query parameters that the API server reads on a create.

metav1.CreateOptions; `pretty` from apiserver pkg/endpoints/handlers/negotiation/negotiate.go; `timeout` from
pkg/endpoints/filters/request_deadline.go. It ignores all others and mints anyway.
"""

LONGEST_PLAIN_VALUE: Final = 128
"""No known parameter needs a longer value: `fieldManager` may have 128 bytes (apimachinery meta/v1/validation)."""

EMPTY_QUERY: Final = "empty query"
"""A lone `?`, or a `?&` before the first parameter: odd, although the Rust client kube-rs writes them."""

_PLAIN_TARGET = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_TOKEN_PATH = re.compile(r"(/.*?)/namespaces/([^/]*)/serviceaccounts/([^/]*)/token", re.DOTALL)


def token_uri_oddities(uri: str, namespace: str, name: str, /) -> tuple[str, ...]:
    """Describe what is unusual about the raw request URI of a call to `serviceaccounts/token`.

    Clients that mint by design write `/api/v1/namespaces/NS/serviceaccounts/NAME/token` and nothing else; the API
    server also accepts trailing slashes, percent-encoded letters and any query string, and logs them raw.

    Arguments:
        uri: `requestURI` as logged.
        namespace: `objectRef.namespace`, as the API server parsed the path.
        name: `objectRef.name`.

    Returns:
        One short phrase per oddity; empty for a canonical URI.

    """
    canonical = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    if uri == canonical and _PLAIN_TARGET.fullmatch(f"{namespace}/{name}"):
        return ()
    path, question_mark, query = uri.partition("?")
    return (*_path_oddities(path, namespace, name), *_query_oddities(query, asked=bool(question_mark)))


def token_uri_is_disguised(uri: str, namespace: str, name: str, /) -> bool:
    """Return whether a URI has an oddity that no benign client produces; kube-rs ends every path with a `?`."""
    oddities = token_uri_oddities(uri, namespace, name)
    return bool(oddities) and oddities != (EMPTY_QUERY,)


def _path_oddities(path: str, namespace: str, name: str) -> list[str]:
    found = ["doubled slash"] if "//" in path.rstrip("/") else []
    escaped = [chr(int(code, 16)) for code in _ESCAPE.findall(path)]
    if "/" in escaped:
        found.append("percent-encoded slash")
    if any(_UNRESERVED.match(char) for char in escaped):
        found.append("percent-encoded letters")
    decoded = unquote(path)
    if decoded.endswith("/"):
        found.append("trailing slash")
        decoded = decoded.rstrip("/")
    if decoded == f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token":
        return found
    match = _TOKEN_PATH.fullmatch(decoded)
    if match and match.group(2, 3) == (namespace, name):
        return [*found, "API prefix other than /api/v1"]
    return [*found, "does not decode to the objectRef"]


def _query_oddities(query: str, *, asked: bool) -> list[str]:
    if not query:
        return [EMPTY_QUERY] if asked else []
    found = [EMPTY_QUERY] if query.startswith("&") else []
    query = query.removeprefix("&")
    parameters = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in parameters]
    if "dryRun" in names:
        found.append("dryRun (it mints a working token all the same)")
    if not KNOWN_QUERY_PARAMETERS.issuperset(names):
        found.append("unknown query parameter")
    if any("%" in field.partition("=")[0] for field in query.split("&")):
        found.append("percent-encoded parameter name")
    if len(names) < query.count("&") + 1 or len(names) > len(set(names)):
        found.append("empty or repeated query parameters")
    if any(len(value) > LONGEST_PLAIN_VALUE for parameter in parameters for value in parameter):
        found.append("query padded with a long value")
    return found
