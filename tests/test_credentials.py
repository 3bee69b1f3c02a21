# SPDX-License-Identifier: Apache-2.0
"""No live credential of any kind survives, wrapped in whatever; names, ids and digests stay."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import token_request
from k8stokendetect import detect, parse_event
from k8stokendetect.convert.credentials import REDACTED, clean_name, clean_text, is_encoded, is_suspect
from k8stokendetect.convert.redaction import redact
from k8stokendetect.errors import ReadError
from strategies import JWT

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_!*"
PASSWORDS = st.text(LETTERS, min_size=8, max_size=40).map("Qz9{}".format)
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def base64url(data: bytes) -> str:
    """Encode as RFC 7515 does."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def pem(body: str) -> str:
    """Return a private key in PEM; the body is no key."""
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    return f"-----BEGIN EC PRIVATE KEY-----\n{lines}\n-----END EC PRIVATE KEY-----"


HEADERS = st.sampled_from(
    [
        b'{"alg":"ES256"}',
        b'{"a":"RS256"}',
        b'{ "alg" : "RS256" }',
        b'{\n  "alg": "RS256"\n}',
        b'{\r\n"alg":"RS256"}',
        b'{\t"alg":"RS256"}',
        b' {"alg":"RS256","kid":"x"}',
        b'\n\t{"alg":"RS256","kid":"x"}',
        '{"kid":"é€","alg":"RS256"}'.encode(),
        '{"é":"x","alg":"RS256"}'.encode(),
        b'{"1":"x","alg":"RS256"}',
        b'{"\\u0061lg":"RS256"}',
        b'{"alg":"RS256","kid":"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstu"}',
    ]
)
RANDOM = st.binary(min_size=64, max_size=200)


@st.composite
def jwts(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a token, and the parts of it that must not survive."""
    head, body, signature = (base64url(part) for part in (draw(HEADERS), draw(RANDOM), draw(RANDOM)))
    return f"{head}.{body}.{signature}", [body, signature]


def whole(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, list[str]]]:
    """Return a credential that is a secret as a whole."""
    return strategy.map(lambda text: (text, [text]))


def random_of(alphabet: str, shortest: int, longest: int) -> st.SearchStrategy[str]:
    """Return texts of these letters."""
    return st.text(alphabet, min_size=shortest, max_size=longest)


CREDENTIALS: dict[str, st.SearchStrategy[tuple[str, list[str]]]] = {
    "jwt": jwts(),
    "eks": whole(random_of(BASE64URL, 200, 400).map("k8s-aws-v1.{}".format)),
    "google": whole(random_of(BASE64URL, 120, 200).map("ya29.a0{}".format)),
    "openshift": whole(random_of(BASE64URL, 43, 43).map("sha256~{}".format)),
    "bootstrap": whole(st.from_regex("[a-z0-9]{6}\\.[a-z0-9]{16}", fullmatch=True)),
    "pem": random_of(BASE64URL, 100, 300).map(lambda body: (pem(body), [body[:64]])),
    "basic": PASSWORDS.map(lambda word: f"amy:{word}").map(
        lambda pair: (f"Basic {base64.b64encode(pair.encode()).decode()}", [base64.b64encode(pair.encode()).decode()])
    ),
    "url": PASSWORDS.map(lambda word: (f"https://amy:{word}@host.example/x", [word])),
    "opaque bearer": PASSWORDS.map(lambda word: (f"Bearer {word}0123456789", [word])),
    "aws": random_of(BASE64URL, 40, 40).map(lambda word: (f"aws_secret_access_key={word}", [word])),
    "aws session": random_of(BASE64URL, 100, 300).map(lambda word: (f"AWS_SESSION_TOKEN={word}", [word])),
    "azure": RANDOM.map(lambda data: quote(base64.b64encode(data[:32]).decode(), safe="")).map(
        lambda word: (f"https://x.blob.core.windows.net/c?sv=2024-11-04&sig={word}&sp=r", [word])
    ),
    "header": PASSWORDS.map(lambda word: (f"x-auth: {word}", [word])),
    "json": PASSWORDS.map(lambda word: (f'{{"password": "{word}"}}', [word])),
}


def wrapped(text: str, width: int, by: str) -> str:
    """Break a text into lines."""
    return by.join(text[start : start + width] for start in range(0, len(text), width))


CARRIERS: dict[str, Callable[[str], str]] = {
    "alone": str,
    "in a sentence": "the token is {} today".format,
    "quoted": "x='{}', y=2".format,
    "in json": lambda text: json.dumps({"x": text}),
    "in json in json": lambda text: json.dumps({"x": json.dumps({"y": text})}),
    "in a query": lambda text: f"/api/v1/pods?x={quote(text, safe='')}&limit=5",
    "in a path": lambda text: f"/api/v1/{quote(text, safe='')}/x",
    "in a query, twice": lambda text: f"/x?y={quote(quote(text, safe=''), safe='')}",
    "in parentheses": "agent/1.0 ({})".format,
    "percent-encoded": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
}
LONG_CARRIERS: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of more": lambda text: base64.b64encode(f"Authorization: Bearer {text}\n".encode()).decode(),
    "base64 after base64's letters": lambda text: "x-auth-" + base64.b64encode(text.encode()).decode(),
    "base64url of yaml": lambda text: base64.urlsafe_b64encode(f"user:\n  token: {text}\n".encode()).decode(),
    "base64 of base64": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 in escaped lines": lambda text: wrapped(base64.b64encode(text.encode()).decode(), 76, "\\n"),
}
WIDTHS = (20, 64, 76, 120)
BREAKS = ("\n", "\r\n", "\n  ", "\\n", "\\r\\n", "\\\\n")


def survivors(secrets: list[str], output: str) -> list[str]:
    """Return the secrets that stand in an output, also broken into lines."""
    plain = re.sub(r"\\+[rn]|\s", "", output)
    return [secret for secret in secrets if secret in output or re.sub(r"\s", "", secret) in plain]


@pytest.mark.parametrize("kind", CREDENTIALS)
@settings(max_examples=60)
@given(data=st.data(), carrier=st.sampled_from(sorted(CARRIERS)))
def test_no_credential_survives(kind: str, carrier: str, data: st.DataObject) -> None:
    """Of any kind, whatever carries it; and what was cleaned once stays as it is."""
    credential, secrets = data.draw(CREDENTIALS[kind])
    carried = CARRIERS[carrier](credential)
    cleaned = clean_text(carried)

    assert not survivors(secrets, cleaned)
    assert REDACTED in cleaned
    assert clean_text(cleaned) == cleaned


@settings(max_examples=60)
@given(st.sampled_from(sorted(LONG_CARRIERS)), jwts() | CREDENTIALS["eks"] | CREDENTIALS["google"] | CREDENTIALS["pem"])
def test_no_token_survives_in_base64(carrier: str, token: tuple[str, list[str]]) -> None:
    """Wherever in a run it begins: three of four ways to divide the run are wrong."""
    carried = LONG_CARRIERS[carrier](token[0])

    assert len(clean_text(carried)) < len(carried) / 2


@settings(max_examples=100)
@given(
    jwts() | CREDENTIALS["eks"], st.sampled_from(WIDTHS), st.sampled_from(BREAKS), st.sampled_from(["", '"', " x y"])
)
def test_no_token_survives_in_lines(token: tuple[str, list[str]], width: int, by: str, after: str) -> None:
    """However it is broken; what follows on a line of its own stays where it is a sentence."""
    text = f"token: {wrapped(token[0], width, by)}{after}"

    assert not survivors(token[1], clean_text(text))


def test_the_next_line_stays() -> None:
    """The word after a token on one line is none of its letters."""
    assert clean_text(f"got {JWT}\nnext line") == f"got {REDACTED}\nnext line"


FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "requestURI": lambda text: {"requestURI": f"/api/v1/namespaces/a/serviceaccounts/b/token?x={quote(text)}"},
    "userAgent": lambda text: {"userAgent": text},
    "annotation": lambda text: {"annotations": {"example.io/x": text}},
    "message": lambda text: {"responseStatus": {"code": 400, "message": text}},
    "details": lambda text: {"responseStatus": {"code": 400, "details": {"name": "x", "causes": [{"message": text}]}}},
    "request": lambda text: {"requestObject": {"kind": "ConfigMap", "data": {"x": text}}},
    "response": lambda text: {"responseObject": {"kind": "Pod", "spec": {"args": [text]}}},
    "unknown": lambda text: {"somethingNew": {"x": [text]}},
}


@pytest.mark.parametrize("kind", CREDENTIALS)
@settings(max_examples=20)
@given(data=st.data(), field=st.sampled_from(sorted(FIELDS)))
def test_no_credential_leaves_the_reader(kind: str, field: str, data: st.DataObject) -> None:
    """Not in an Event, its repr, a finding or an error; of the event or of its text."""
    credential, secrets = data.draw(CREDENTIALS[kind])
    record = token_request(**FIELDS[field](credential))
    errors: list[Any] = []
    findings = list(detect(json.dumps(record).encode(), on_error=errors.append))
    output = "".join(map(repr, (attrs.asdict(parse_event(record)), findings, errors, redact(record)[0])))

    assert not survivors(secrets, output)


@pytest.mark.parametrize("kind", CREDENTIALS)
@settings(max_examples=10)
@given(data=st.data())
def test_no_credential_is_in_an_error(kind: str, data: st.DataObject) -> None:
    """The record is broken after the URI, which the error reveals."""
    credential, secrets = data.draw(CREDENTIALS[kind])
    text = json.dumps({"auditID": "1", "requestURI": f"/x?{credential}", "verb": "get", "user": 1})
    errors: list[Any] = []
    list(detect(text[:-4].encode(), on_error=errors.append))
    with pytest.raises(ReadError) as caught:
        parse_event(json.loads(text))

    assert errors
    assert not survivors(
        secrets, f"{errors[0]!r} {errors[0]} {errors[0].revealed} {caught.value!r} {caught.value.revealed}"
    )


HARMLESS = [
    "system:serviceaccount:kube-system:pod-garbage-collector",
    "system:bootstrap:abcdef",
    "bootstrap-token-abcdef",
    "JTI=2b7ab2b2-6a2f-4d6e-9d0a-0f0c3b2a1d5e",
    "X509SHA256=8a15dffca5c202d48a15dffca5c202d48a15dffca5c202d48a15dffca5c202d4",
    "quay.io/x/y@sha256:8a15dffca5c202d48a15dffca5c202d48a15dffca5c202d48a15dffca5c202d4",
    "server.corporatenetwork.com",
    "/apis/oauth.openshift.io/v1/oauthaccesstokens/sha256~Q29tZSBhbmQgdGFrZSB0aGVtLiBDb21lIGFuZCB0YWtl",
    "kubelet/v1.36.2 (linux/amd64) kubernetes/98b3519",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 and more",
    'RBAC: allowed by ClusterRoleBinding "system:kube-controller-manager" to User "system:y" and others',
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/ip-10-0-1-5.eu-central-1.compute.internal?timeout=10s",
    "/api/v1/pods?limit=500&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTIzNCwic3RhcnQiOiJkL3gifQ&resourceVersion=17",
    "Basic authentication is off; the bearer of this is nobody",
    "authorization-mode: Node,RBAC; automountServiceAccountToken: false; secretName: x; token: no",
    "git@github.com:acme/deploy.git and https://github.com/acme/deploy and ssh://git@host/x",
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ29tZSBhbmQgdGFrZSB0aGVt\n-----END CERTIFICATE-----",
    "arn:aws:sts::123456789012:assumed-role/eks-deploy/i-0123456789abcdef0",
    "greyJohn.smith@corp.example KeyID.12345 HeyJude.example.com/v1 DockerImage.v1 Internal.example",
    "2026-11-23T21:43:45.123456Z stream closed: EOF; sig=short; auth=none",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_names_ids_and_digests_stay(text: str) -> None:
    """In texts and as names."""
    assert clean_text(text) == clean_name(text) == text


@given(st.from_regex("[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}", fullmatch=True))
def test_a_name_with_dots_stays_a_name(name: str) -> None:
    """Of a user or an object, whatever its length; a bootstrap token is a name of that form."""
    assert clean_name(name) == name


def test_an_object_that_is_called_like_a_token_keeps_its_name() -> None:
    """OpenShift's objects have the hash of the token for a name; a client asks for what it wants."""
    name = "sha256~Q29tZSBhbmQgdGFrZSB0aGVtLiBDb21lIGFuZCB0YWtl"
    event = parse_event(token_request(objectRef={"resource": "oauthaccesstokens", "name": name}))

    assert event.object_ref is not None
    assert event.object_ref.name == name


PIECES = "token= x-auth: eyJ ey J ya29. ~12345678 .0123456789abcdef \\ n u00 % : = // Basic a".split()
FRAGMENTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=9), max_size=9).map("".join)


@settings(max_examples=300)
@given(FRAGMENTS, FRAGMENTS)
def test_texts_together_are_as_suspect_as_each(first: str, second: str) -> None:
    """Events ask for all of theirs at once; and what is neither suspect nor encoded is clean."""
    assert is_suspect(f"{first}|{second}") or not (is_suspect(first) or is_suspect(second))
    assert is_encoded(f"{first}|{second}") or not (is_encoded(first) or is_encoded(second))
    assert is_suspect(first) or is_encoded(first) or clean_text(first) == first


SECRET = {
    "kind": "Secret",
    "type": "bootstrap.kubernetes.io/token",
    "metadata": {
        "name": "bootstrap-token-abcdef",
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": '{"kind":"Secret","stringData":{"x":"hunter2hunter2"}}'
        },
    },
    "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef"},
}
POD = {
    "kind": "Pod",
    "spec": {
        "containers": [
            {"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2hunter2"}, {"name": "REGION", "value": "eu"}]}
        ]
    },
}


@pytest.mark.parametrize("body", [SECRET, POD, {"password": "hunter2hunter2"}, {"a": [{"apiKey": "hunter2hunter2"}]}])
def test_fields_that_are_called_like_a_credential(body: dict[str, Any]) -> None:
    """In bodies: by the field, by the variable's name, and all data of a Secret; other fields stay."""
    cleaned = str(redact(token_request(requestObject=body))[0])

    assert not [word for word in ("hunter2", "0123456789abcdef") if word in cleaned]
    assert ("bootstrap-token-abcdef" in cleaned) == (body is SECRET)
    assert ("'eu'" in cleaned) == (body is POD)


UNITS = [
    *("ZXl", "eyJ", "eyJ.", "eyJAAAAAAA.", "ICB7AAAAAA.", "e\n", "eyJ\\n", "A", "a.", "%65yJ", "%25", "\\u0065yJ"),
    *(
        "a=",
        "token=",
        "x-",
        "x-auth: ",
        "Basic ",
        "basic YTpi ",
        "bearer ",
        "://",
        "://a:",
        "://a@",
        "sha256~",
        "ya29.",
    ),
    *(
        "k8s-aws-v1.",
        "abcdef.",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "PRIVATE KEY",
        "\\\\",
        " ",
        '="',
        "QmVhcmVy",
    ),
]


@pytest.mark.parametrize("unit", UNITS)
def test_hostile_text_costs_linear_time(unit: str) -> None:
    """Text of 300 kB; quadratic work on it would take minutes, and the suite with it."""
    assert isinstance(clean_text(unit * (300_000 // len(unit))), str)
