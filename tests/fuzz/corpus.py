# SPDX-License-Identifier: Apache-2.0
"""What fuzzing starts from: small inputs of every kind, made from the recordings, the cases and the examples."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

import cloud_logs
from fuzz.targets import LIVE_TOKEN
from k8stokendetect import Tally, detect
from k8stokendetect.engine.memory import Memory
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS
from k8stokendetect.outputs.native import to_line
from recordings import METADATA, REQUEST_RESPONSE, records
from wrappings import azure, cloudwatch, elastic, gcp, ocsf, shippers

ROOT: Final = Path(__file__).parents[2]
_EXAMPLES: Final = ROOT / "examples"
_CASES: Final = ROOT / "tests" / "data"
LONGEST: Final = 8 * 1024
"""What is longer is cut at a line's end, where it has several lines: short inputs are tried more often."""


def _read() -> Iterator[bytes]:
    """Yield two recorded token requests in every wrapping, what holds a live token, and every case."""
    requests = [one for one in records(REQUEST_RESPONSE) if one.get("objectRef", {}).get("subresource") == "token"]
    few = [requests[0], requests[-1]]
    for module in (azure, cloudwatch, elastic, gcp, ocsf, shippers):
        for wrap in module.WRAPPINGS.values():
            yield wrap(few)
    yield b"".join(map(_line, [*records(METADATA)[:4], *few]))
    yield _line({**few[0], "userAgent": LIVE_TOKEN, "requestURI": f"/x?access_token={LIVE_TOKEN}"})
    yield _line({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": few})
    yield json.dumps(few, indent=1).encode()
    for path in sorted(_CASES.glob("clouds/*")):
        content = path.read_bytes()
        if path.suffix != ".md":
            yield content[:LONGEST] if content.count(b"\n") > 1 else content
    yield cloud_logs.subscription(cloud_logs.RECORDS[:2])
    for wrap in (cloud_logs.bus, cloud_logs.log_event):
        yield cloud_logs.lines(cloud_logs.RECORDS[:2], wrap)
    for path in sorted([*_CASES.glob("reader/*"), *_CASES.glob("trust/*"), _EXAMPLES / "attack.log"]):
        if path.suffix != ".gz" and path.name != "README.md":
            yield path.read_bytes()


def _cluster() -> Iterator[bytes]:
    yield (_EXAMPLES / "attack-cluster.json").read_bytes()
    document = json.loads((_EXAMPLES / "attack-cluster.json").read_bytes())
    for item in document["items"]:
        yield _line(item)
    yield b"---\n".join(_as_yaml(item) for item in document["items"][:6])
    roles = [item for item in document["items"] if item["kind"].endswith("Role")]
    yield _line({"kind": "ClusterRoleList", "apiVersion": "rbac.authorization.k8s.io/v1", "items": roles})
    rules = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}, "rules": []}
    head = {"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1"}
    circle = [{**head, "metadata": {"name": name, "labels": {"a": "b"}}, **rules} for name in ("one", "two")]
    yield _line({"kind": "List", "items": circle})
    yield _line({"associations": [{"namespace": "a", "serviceAccount": "b", "associationId": "c"}]})


def _as_yaml(item: Any) -> bytes:
    written: str = yaml.safe_dump(item)
    return written.encode()


def _exclusions() -> Iterator[bytes]:
    yield (_EXAMPLES / "acme-exclusions.toml").read_bytes()
    yield b'enable = ["cert-manager", "external-secrets"]\n'
    for exclusion in DEFAULT_EXCLUSIONS[:8]:
        yield (
            f'[[exclusion]]\ncomponent = "{exclusion.id}"\nid = "mine-{exclusion.id}"\nrules = ["token-request"]\n'
            f'because = "x"\nhides = "y"\nexpires = 2027-01-01\n'
        ).encode()
    yield (
        b'[[exclusion]]\nid = "mine"\nactor = { username = ["system:node:*"], groups = ["system:nodes"], '
        b'only_groups = true, user_agents = ["kubelet/*"], credential = "X509SHA256", reason = "" }\n'
        b'namespaces = ["*"]\nnames = ["*"]\nif_unseen = "report"\nplatforms = ["eks"]\n'
        b'token = { bound_kind = "Pod", audiences = ["a"], longest = 3607 }\nbecause = "x"\nhides = "y"\n'
        b'provenance = [{ source = "https://a.example", checked = 2026-11-24, note = "n" }]\n'
    )


_POLICY: Final = """\
apiVersion: audit.k8s.io/v1
kind: Policy
metadata: {name: p}
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints, services/status]}]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", /version]
- level: Request
  resources: [{group: "", resources: [configmaps], resourceNames: [a]}]
  namespaces: [kube-system, ""]
  omitManagedFields: false
- level: RequestResponse
  resources: [{group: "rbac.authorization.k8s.io"}, {resources: ["*/token", "pods/*"]}]
- level: Metadata
  omitStages: [ResponseStarted]
"""


def _policy() -> Iterator[bytes]:
    yield _POLICY.encode()
    yield _line(yaml.safe_load(_POLICY))
    yield b'{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}'
    yield b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- &a\n  level: None\n- *a\n- level: Metadata\n"


def _auditd() -> Iterator[bytes]:
    log = (_EXAMPLES / "host-audit.log").read_bytes()
    yield log
    lines = log.splitlines(keepends=True)
    for start in range(0, len(lines), 6):
        yield b"".join(lines[start : start + 6])
    from auditd import records as commands  # noqa: PLC0415 - the tests' writer of auditd's lines

    for argv in (("kubectl", "create", "token", "x", "-n", "y"), ("sh", "-c", f"curl -H 'Bearer {LIVE_TOKEN}'")):
        yield "\n".join(commands(*argv)).encode() + b"\n"
    yield "\n".join(commands("kubectl", "a" * 9000, "token", node="n")).encode() + b"\n"


def _state() -> Iterator[bytes]:
    log = (_EXAMPLES / "attack.log").read_bytes().splitlines(keepends=True)
    for content in ((), b"".join(log[:30]), b"".join(log)):
        memory = Memory()
        list(detect(content, memory=memory, tally=Tally()))
        yield json.dumps(memory.to_dict()).encode()


def _finding() -> Iterator[bytes]:
    for finding in detect(_EXAMPLES / "attack.log", keep_excluded=True):
        yield to_line(finding).encode()


def _line(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


_SEEDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "read": _read,
    "cluster": _cluster,
    "exclusions": _exclusions,
    "policy": _policy,
    "auditd": _auditd,
    "state": _state,
    "finding": _finding,
}


@functools.cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Return the inputs that a target starts from, each once."""
    found = _SEEDS[target]()
    return tuple(dict.fromkeys(map(_shortened, found) if target == "read" else found))


def _shortened(content: bytes) -> bytes:
    end = content.rfind(b"\n", 0, LONGEST) + 1
    return content if len(content) <= LONGEST or not end else content[:end]


def words(target: str) -> frozenset[bytes]:
    """Return the short quoted texts of a target's inputs: what atheris puts together."""
    return frozenset(
        word
        for content in seeds(target)
        for word in content.split(b'"')[1::2]
        if 2 < len(word) < 40 and word.isascii() and b"\\" not in word and word.decode().isprintable()
    )
