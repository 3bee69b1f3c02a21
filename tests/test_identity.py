# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' own strings, parsed as Kubernetes parses them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8stokendetect.identity import ServiceAccount, credential_kind, token_uri_is_disguised, token_uri_oddities
from strategies import names, texts


@pytest.mark.parametrize(
    ("username", "account"),
    [
        ("system:serviceaccount:prod:payments-sa", ServiceAccount("prod", "payments-sa")),
        ("system:serviceaccount:prod", None),
        ("system:serviceaccount::x", None),
        ("system:serviceaccount:prod:", None),
        ("system:serviceaccount:a:b:c", None),
        ("system:node:worker-1", None),
        ("", None),
    ],
)
def test_service_account_names(username: str, account: ServiceAccount | None) -> None:
    """Exactly two parts after the prefix, as SplitUsername has it."""
    assert account == ServiceAccount.of_username(username)


def test_a_service_account_knows_its_groups() -> None:
    """The two groups that every token of it has."""
    assert ServiceAccount("prod", "x").groups == ("system:serviceaccounts", "system:serviceaccounts:prod")
    assert str(ServiceAccount("prod", "x")) == "prod/x"


@pytest.mark.parametrize(
    ("credential", "kind"), [("JTI=1", "JTI"), ("X509SHA256=ab", "X509SHA256"), ("odd", None), ("", None), (None, None)]
)
def test_credential_kinds(credential: str | None, kind: str | None) -> None:
    """A token's id and a certificate's tell themselves apart."""
    assert kind == credential_kind(credential)


PLAIN = "/api/v1/namespaces/prod/serviceaccounts/payments-sa/token"


@pytest.mark.parametrize(
    ("uri", "oddities"),
    [
        (PLAIN, ()),
        (f"{PLAIN}?pretty=true&fieldManager=kubectl-create&fieldValidation=Strict&timeout=30s", ()),
        (f"{PLAIN}/", ("trailing slash",)),
        (f"{PLAIN}//", ("trailing slash",)),
        (f"{PLAIN}%2f", ("percent-encoded slash", "trailing slash")),
        (PLAIN.replace("service", "%73ervice"), ("percent-encoded letters",)),
        (PLAIN.replace("/token", "%2Ftoken"), ("percent-encoded slash",)),
        (PLAIN.replace("/api/v1", "/apis/authentication.k8s.io/v1"), ("API prefix other than /api/v1",)),
        (PLAIN.replace("/api/v1", "//api/v1"), ("doubled slash", "API prefix other than /api/v1")),
        (PLAIN.replace("/api/v1", "/api/v1/watch"), ("API prefix other than /api/v1",)),
        (f"{PLAIN}/extra", ("does not decode to the objectRef",)),
        (PLAIN.replace("prod", "dev"), ("does not decode to the objectRef",)),
        (PLAIN.replace("payments", "Payments"), ("does not decode to the objectRef",)),
        (PLAIN.replace("s/pay", "s/%2570ay"), ("does not decode to the objectRef",)),
        (f"{PLAIN}?", ("empty query",)),
        (f"{PLAIN}?dryRun=All", ("dryRun (it mints a working token all the same)",)),
        (f"{PLAIN}?dryRun", ("dryRun (it mints a working token all the same)",)),
        (
            f"{PLAIN}?dry%52un=All",
            ("dryRun (it mints a working token all the same)", "percent-encoded parameter name"),
        ),
        (f"{PLAIN}?x=/api/v1/namespaces/prod/pods", ("unknown query parameter",)),
        (f"{PLAIN}?DryRun=All", ("unknown query parameter",)),
        (f"{PLAIN}?pretty=1&pretty=2", ("empty or repeated query parameters",)),
        (f"{PLAIN}?&&&", ("empty query", "empty or repeated query parameters")),
        (f"{PLAIN}?&pretty=true", ("empty query",)),
        (f"{PLAIN}?fieldManager={'x' * 129}", ("query padded with a long value",)),
        (f"{PLAIN}?fieldManager={'x' * 128}", ()),
    ],
)
def test_uri_oddities(uri: str, oddities: tuple[str, ...]) -> None:
    """Each way of writing the same call differently is told, and what honest clients write is not."""
    assert oddities == token_uri_oddities(uri, "prod", "payments-sa")


@given(names, names)
def test_the_canonical_form_is_never_odd(namespace: str, name: str) -> None:
    """Whatever the names are."""
    assert token_uri_oddities(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", namespace, name) == ()


@given(names, names, st.data())
def test_any_needless_escape_is_odd(namespace: str, name: str, data: st.DataObject) -> None:
    """One percent-encoded letter anywhere in the path changes nothing for the API server, and is told."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    place = data.draw(st.integers(1, len(path) - 1))
    escaped = f"{path[:place]}%{ord(path[place]):02x}{path[place + 1 :]}"

    assert token_uri_oddities(escaped, namespace, name)


@given(texts, texts, texts)
def test_any_text_is_analysed(uri: str, namespace: str, name: str) -> None:
    """A URI is free text: whatever it is, there is an answer, and only the canonical form has no oddity."""
    oddities = token_uri_oddities(uri, namespace, name)

    canonical = f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts/{quote(name, safe='')}/token"
    assert oddities or uri.partition("?")[0] == canonical


def test_what_kube_rs_writes_is_odd_and_no_disguise() -> None:
    """The Rust client ends every path with a question mark: no reason to void an exclusion of yours."""
    assert not token_uri_is_disguised(f"{PLAIN}?", "prod", "payments-sa")
    assert not token_uri_is_disguised(f"{PLAIN}?&fieldManager=x", "prod", "payments-sa")
    assert token_uri_is_disguised(f"{PLAIN}?&dryRun=All", "prod", "payments-sa")
    assert token_uri_is_disguised(f"{PLAIN}/", "prod", "payments-sa")
