# SPDX-License-Identifier: Apache-2.0
"""Sphinx extension: a page for each detector, from its rule, its docstring and a finding of the recorded attack."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from sphinx.util import logging

from k8stokendetect import Detector, Finding, detect, sigma
from k8stokendetect.audit_policy.needs import NEEDS
from k8stokendetect.commands import BUILTIN_COMMANDS, detect_commands
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.outputs.text import to_text
from k8stokendetect.testing import builders

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
ATTACK = ROOT / "examples/attack.log"
"""What the examples are taken from, where a detector finds something there."""

ROLE = {
    "kind": "ClusterRole",
    "metadata": {"name": "helper"},
    "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}],
}

READ = builders.request(
    "get",
    "pods/exec",
    user="mallory",
    name="web-1",
    code=101,
    ip="203.0.113.9",
    requestURI="/api/v1/namespaces/prod/pods/web-1/exec?command=cat"
    "&command=%2Fvar%2Frun%2Fsecrets%2Fkubernetes.io%2Fserviceaccount%2Ftoken",
)

CLOUD = ROOT / "examples/cloud"
TRAIL = json.loads((CLOUD / "cloudtrail/us-west-2.json").read_text(encoding="utf-8"))["Records"]
BOTH = [json.loads((CLOUD / "audit.log").read_text(encoding="utf-8")), *TRAIL]
EXCHANGE = TRAIL[0]


def pods_exchange(hour: float, account: str = "payments-sa") -> dict[str, Any]:
    """Return an exchange of a pod, so many hours after the one in the example."""
    time = datetime.fromisoformat(EXCHANGE["eventTime"]) + timedelta(hours=hour)
    text = json.dumps(
        EXCHANGE | {"eventID": f"{account} {hour}", "sourceIPAddress": "198.51.100.10", "userAgent": "Boto3/1.34.2"}
    )
    text = text.replace("s3access", "botocore-session-1").replace(":payments-sa", f":{account}")
    return dict(json.loads(text) | {"eventTime": f"{time:%Y-%m-%dT%H:%M:%SZ}"})


def kubelets_mint(hour: float, account: str) -> dict[str, Any]:
    """Return a kubelet's mint at such a time."""
    return builders.token_request(
        "system:node:worker-1",
        f"prod/{account}",
        groups=("system:nodes", "system:authenticated"),
        user_agent="kubelet/v1.31.2 (linux/amd64) kubernetes/5864a46",
        time=datetime.fromisoformat(EXCHANGE["eventTime"]) + timedelta(hours=hour),
        annotations={"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    )


BUILT: dict[str, list[Any] | bytes] = {
    "minted-token-exchanged": BOTH,
    "cloud-act-after-exchange": BOTH,
    "web-identity-unusual-origin": [*(pods_exchange(hour) for hour in range(-30, 0)), EXCHANGE],
    "web-identity-without-mint": [
        *(kubelets_mint(hour, f"app-{hour % 3}") for hour in range(-28, 2)),
        *(pods_exchange(-1, f"app-{number}") for number in range(3)),
        EXCHANGE,
    ],
    "token-request-impersonated": [
        builders.token_request("mallory", impersonatedUser={"username": "alice", "groups": ["system:authenticated"]})
    ],
    "token-request-lookalike": [builders.token_request("system:node:worker-9")],
    "token-request-cloud-audience": [builders.token_request("mallory", audiences=["sts.amazonaws.com"])],
    "token-request-long-lived": [builders.token_request("mallory", expiration_seconds=90 * 24 * 3600)],
    "token-request-denied": [builders.token_request("mallory", code=403)],
    "token-in-audit-log": [builders.token_request("alice", level="RequestResponse")],
    "token-right-granted": [
        builders.request(
            "create",
            "clusterroles",
            user="mallory",
            name="helper",
            code=201,
            level="Request",
            requestObject=ROLE,
            objectRef={"resource": "clusterroles", "name": "helper", "apiGroup": "rbac.authorization.k8s.io"},
        )
    ],
    "second-control-plane-credential": [
        builders.token_request(
            "system:kube-controller-manager",
            f"kube-system/{name}",
            credential=f"X509SHA256={64 * letter}",
            time=builders.START + timedelta(minutes=minute),
        )
        for minute, (name, letter) in enumerate(
            [
                *((f"{word}-controller", "a") for word in "job node ttl cronjob namespace".split()),
                ("expand-controller", "b"),
            ]
        )
    ],
    "audit-annotation-forged": [
        builders.request(
            "create",
            "validatingadmissionpolicies",
            user="mallory",
            code=201,
            objectRef={
                "resource": "validatingadmissionpolicies",
                "name": "authentication.kubernetes.io",
                "apiGroup": "admissionregistration.k8s.io",
            },
        )
    ],
    "overlong-audit-id": [builders.request(user="mallory", auditID="x" * 2000)],
    "token-read-by-exec": [READ],
    "unknown-token-used": [
        *(
            event
            for number in range(20)
            for event in (
                builders.token_request(
                    "alice", "prod/ci", issued=f"JTI={number}", time=builders.START + timedelta(minutes=number)
                ),
                builders.request(
                    user=builders.service_account_user("prod/ci", f"JTI={number}"),
                    time=builders.START + timedelta(minutes=number, seconds=9),
                ),
            )
        ),
        builders.request(
            "list",
            "secrets",
            user=builders.service_account_user("prod/ci", "JTI=unknown"),
            ip="203.0.113.9",
            time=builders.START + timedelta(minutes=30),
        ),
    ],
    "read-token-used": [
        READ,
        builders.request(
            "list",
            "secrets",
            user=builders.service_account_user("prod/web", "JTI=1", pod="web-1"),
            ip="203.0.113.9",
            time=builders.START + timedelta(minutes=1),
        ),
    ],
    "system-identity-issued": [
        builders.request(
            verb,
            resource,
            user="mallory",
            namespace=None,
            name="x",
            api_group="certificates.k8s.io",
            time=builders.START + timedelta(seconds=second),
        )
        for second, (verb, resource) in enumerate(
            [("create", "certificatesigningrequests"), ("update", "certificatesigningrequests/approval")]
        )
    ],
    "unreadable-token-request": json.dumps(builders.token_request("mallory")).encode()[:300],
    "forged-token": [
        builders.request(user=builders.service_account_user("dev/web", "JTI=1"), time=builders.START),
        builders.request(
            "get", "secrets", user=builders.service_account_user("prod/ci"), time=builders.START + timedelta(minutes=1)
        ),
    ],
}
"""Events for those of which nothing stands in the recorded attack; each is what an API server would have written."""


def examples() -> dict[str, Finding]:
    """Return a finding for each detector that has one: of the recorded attack, or else of an event built for it."""
    instances = [cls() for cls in (*BUILTIN, *OPTIONAL)]
    found: dict[str, Finding] = {}
    for finding in detect(ATTACK, detectors=instances):
        best = found.get(finding.rule.id)
        if best is None or finding.severity > best.severity:
            found[finding.rule.id] = finding
    for finding in (*_of_built(instances), *detect_commands(ROOT / "examples/host-audit.log")):
        found.setdefault(finding.rule.id, finding)
    for finding in _of_recordings({cls.rule.id for cls in instances} - set(found)):
        found.setdefault(finding.rule.id, finding)
    return {rule_id: _at_home(finding) for rule_id, finding in found.items()}


def _of_built(instances: list[Detector]) -> Iterator[Finding]:
    for rule_id, events in BUILT.items():
        detectors = [
            type(detector)() for detector in instances if detector.rule.id == rule_id
        ]  # one that knows nothing
        yield from detect(events, detectors=detectors, on_error=lambda _: None)


def _of_recordings(missing: set[str]) -> Iterator[Finding]:
    for path in sorted((ROOT / "tests/data").glob("*.log.gz")) if missing else ():
        detectors = ["token-request", *missing]
        yield from (finding for finding in detect(path, detectors=detectors) if finding.rule.id in missing)


def _at_home(finding: Finding) -> Finding:
    """Name the file as seen from the repository."""
    origin = (finding.event.origin or "").removeprefix(f"{ROOT}/")
    return attrs.evolve(finding, event=attrs.evolve(finding.event, origin=origin))


def _sigma(rule_id: str) -> str:
    """Return the rule as Sigma, or nothing where Sigma cannot express it."""
    return sigma.rule_for(rule_id) if rule_id in sigma.RULES else ""


def page(cls: type[Detector], example: Finding | None) -> str:
    """Return the page of a detector, in MyST Markdown."""
    return "\n".join(_lines(cls, example)) + "\n"


def _runs(cls: type[Detector]) -> str:
    if cls in BUILTIN_COMMANDS:
        return "by `k8stokendetect scan-host` and `detect_commands`"
    return "by default" if cls in BUILTIN else f"when asked for: `--rule {cls.rule.id}`, or by class"


def _lines(cls: type[Detector], example: Finding | None) -> Iterator[str]:
    rule = cls.rule
    prose, settings = _docstring(cls)
    techniques = [
        f"[{name}](https://attack.mitre.org/techniques/{name.replace('.', '/')}/)" for name in rule.techniques
    ]
    yield from (f"# {rule.id}", "", f"**{rule.title}.** {rule.description}", "", "| | |", "|---|---|")
    yield f"| severity | {rule.severity} |"
    yield f"| runs | {_runs(cls)} |"
    yield f"| ATT&CK | {', '.join([*techniques, *rule.tactics])} |"
    home = "commands" if cls in BUILTIN_COMMANDS else "detectors"
    yield f"| class | {{py:class}}`~k8stokendetect.{home}.{cls.__name__}` |"
    yield from ("", "## When it fires", "", prose)
    if example:
        yield from ("", "## An example", "", "```text", to_text(example), "```")
    yield from ("", "## What the log must hold", "")
    yield from _needs(rule.id)
    for title, items in (
        ("Who triggers it without bad intent", rule.false_positives),
        ("Blind spots", rule.blind_spots),
    ):
        yield from ("", f"## {title}", "", *(f"- {item}" for item in items))
    yield from ("", "## What to do", "", rule.response)
    if settings:
        yield from ("", "## Settings", "", *settings)
    if sigma := _sigma(rule.id):
        yield from ("", "## As Sigma", "", "```yaml", sigma.rstrip(), "```")
    yield from ("", "## Read on", "", *(f"- <{url}>" for url in rule.references))


def _docstring(cls: type[Detector]) -> tuple[str, list[str]]:
    """Return the prose of the class, and its arguments as a list."""
    text = inspect.getdoc(cls) or ""
    prose, _, rest = text.partition("\nArguments:\n")
    arguments = inspect.cleandoc(rest.partition("\nRaises:")[0])
    items: list[str] = []
    for line in arguments.splitlines():
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        elif line.strip():
            name, _, what = line.strip().partition(": ")
            items.append(f"- `{name}`: {what}")
    return prose.partition("\nRaises:")[0].strip(), items


def _needs(rule_id: str) -> Iterable[str]:
    if rule_id in {cls.rule.id for cls in BUILTIN_COMMANDS}:
        return ["The commands of the host, as auditd logs them: see [the host side](../host.md)."]
    needs = NEEDS.get(rule_id)
    if needs is None:
        return ["See its class."]
    if not needs:
        return ["It works with whatever is logged."]
    return [
        f"- {need.kind.name} at level **{need.level}**{'' if need.essential else ', to work in full'}: {need.why}"
        for need in needs
    ]


def write(app: Sphinx) -> None:
    """Write the pages that changed into `docs/detectors/`, and remove those of detectors that are gone."""
    folder = Path(app.srcdir) / "detectors"
    folder.mkdir(exist_ok=True)
    found = examples()
    every: tuple[type[Detector], ...] = (*BUILTIN, *OPTIONAL, *BUILTIN_COMMANDS)
    for rule_id in {cls.rule.id for cls in every} - set(found):
        logging.getLogger(__name__).warning("no example for %s: build an event for it in BUILT", rule_id)
    pages = {f"{cls.rule.id}.md": page(cls, found.get(cls.rule.id)) for cls in every}
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, content in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
