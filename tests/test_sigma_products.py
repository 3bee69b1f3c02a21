# SPDX-License-Identifier: Apache-2.0
"""The names of fields in products, and the files that these import."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

import sigma_engines as engines
import sigma_lucene as lucene
import sigma_runner as runner
import spl
from k8stokendetect import ConfigError, sigma
from k8stokendetect.cli.app import sigma as command
from k8stokendetect.sigma.elastic import NOT_INDEXED
from k8stokendetect.sigma.pipelines import FIELDS, keys
from k8stokendetect.sigma.sentinel import MOST_CHARACTERS

ROOT = Path(__file__).parents[1]
LISTS = ("user.groups", "requestObject.spec.audiences")

INDEXED = set(
    """auditID kind level stage requestURI verb user.groups user.username user.uid impersonatedUser.groups userAgent
    impersonatedUser.username impersonatedUser.uid sourceIPs objectRef.resource objectRef.namespace objectRef.name
    objectRef.uid objectRef.apiGroup objectRef.apiVersion objectRef.resourceVersion objectRef.subresource
    responseStatus.code responseStatus.status responseStatus.message requestObject.spec.type requestReceivedTimestamp
    stageTimestamp responseObject.roleRef.kind""".split()
)
"""Fields of Elastic's integration below `kubernetes.audit`; besides, whatever is in annotations and in user.extra.

github.com/elastic/integrations@0a35e489 packages/kubernetes/data_stream/audit_logs/fields/fields.yml, without those of
pods. Bodies have `dynamic: false`: what is not in the list is not indexed.
"""


def with_every_field() -> dict[str, Any]:
    """Return an event that has each field a rule asks for."""
    event: dict[str, Any] = {}
    for field in FIELDS:
        if re.search(r"\.rules(\.resources)?$", field):
            continue
        *above, last = keys(field)
        place = event
        for key in above:
            place = place.setdefault(key, {})
        is_list = field in LISTS or field.startswith("user.extra.")
        place[last] = ["a", "b", "c"] if is_list else 201 if runner.NUMBERS.fullmatch(field) else "a"
    for body in ("requestObject", "responseObject"):
        event[body]["rules"] = [{"resources": ["a", "b", "c"]}]
    return event


def numbered(value: Any, path: str = "") -> Iterator[str]:
    """Yield the names of fields as CloudWatch Logs Insights discovers them: elements of lists by number."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path
        return
    for name, item in items:
        yield from numbered(item, f"{path}.{name}" if path else str(name))


FIELDS_IN = {
    "elastic": lambda event: {name for name, _ in lucene.values(engines.of_elastic(event))},
    "splunk": lambda event: {name for name, _ in spl.fields(event)},
    "cloudwatch": lambda event: {*numbered(event)},
}


@pytest.mark.parametrize("product", FIELDS_IN)
def test_a_product_has_the_fields_that_we_ask_it_for(product: Any) -> None:
    """Each name is one that the product makes of an event with that field."""
    there = FIELDS_IN[product](with_every_field())
    for field in FIELDS:
        name = sigma.name_in(product, field)
        for one in [name] if isinstance(name, str) else name:
            plain = one.replace("\\/", "/").replace("rules_.resources_", "rules{}.resources{}")
            assert plain in there, field


def test_sentinel_and_loki_compute_the_fields() -> None:
    """From columns that AKSAudit has, or from the line's JSON; each under a name that needs no quotes."""
    extend = sigma.extraction("sentinel", FIELDS)
    for name, column in re.findall(r"(\w+) = to(?:string|int)\((\w+)", extend):
        assert name.startswith("k8s_")
        assert column in engines.COLUMNS
    assert 'k8s_impersonatedUser_username = ""' in extend
    assert 'k8s_user_groups = tostring(User["groups"])' in extend
    assert 'Annotations["authorization.k8s.io/reason"]' in extend

    parse = sigma.extraction("loki", ["user.groups", "annotations.authorization.k8s.io/reason", "verb"])
    assert parse == (
        r'json annotations_authorization_k8s_io_reason="annotations[\"authorization.k8s.io/reason\"]", '
        r'user_groups="user.groups", verb="verb"'
    )
    assert sigma.name_in("loki", "user.groups") == "user_groups"


def test_an_unknown_product_is_an_error() -> None:
    """Its name, and those that there are."""
    for call in (lambda: sigma.pipeline("qradar"), lambda: sigma.name_in("qradar", "verb")):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="unknown product 'qradar'; there are elastic, splunk"):
            call()
    with pytest.raises(ConfigError, match="unknown product 'loki'; there are elastic, splunk, sentinel"):
        sigma.write_for("loki")  # type: ignore[arg-type]


def test_without_pysigma_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sigma itself needs no pySigma."""
    for name in [name for name in sys.modules if name.startswith("sigma.")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert sigma.rule_for("token-request")
    with pytest.raises(ConfigError, match=r"pip install 'k8stokendetect\[sigma\]'"):
        sigma.pipeline("elastic")
    with pytest.raises(ConfigError, match=r"pip install 'k8stokendetect\[sigma\]'"):
        sigma.write_for("elastic", ["token-request"])


OF_KIBANA: dict[str, type] = {
    **dict.fromkeys("name description id rule_id type language query severity interval from to license".split(), str),
    "timestamp_override": str,
    **dict.fromkeys(["risk_score", "max_signals", "version"], int),
    "enabled": bool,
    **dict.fromkeys("index author references false_positives tags threat exceptions_list".split(), list),
}
"""What an import takes of what we write, and its type: see `sigma.elastic`."""


def test_kibana_gets_what_it_imports() -> None:
    """What it requires of a rule, nothing that it does not know, and queries of fields that are indexed."""
    written = sigma.write_for("elastic")
    rules = engines.kibana()

    assert {*rules} == {*runner.SINGLE}
    assert written.left_out.keys() == {
        runner.documents(sigma.rule_for(rule))[-1]["title"] for rule in runner.CORRELATIONS
    }
    template = json.loads(written.files["logs-kubernetes.audit_logs@custom.json"])
    ours = {".".join(path) for path in _mapped(template["template"]["mappings"])}
    assert ours == {f"kubernetes.audit.{field}" for field in NOT_INDEXED}
    for name, rule in rules.items():
        assert {key: type(value) for key, value in rule.items()} == OF_KIBANA
        assert str(UUID(rule["id"])) == rule["rule_id"] == str(sigma.rule_id(name))
        assert (rule["type"], rule["language"], rule["index"]) == ("query", "lucene", ["logs-kubernetes.audit_logs-*"])
        assert rule["name"]
        assert rule["description"]
        assert rule["version"] == 1
        assert rule["severity"] in {"low", "medium", "high", "critical"}
        assert (rule["risk_score"], rule["enabled"]) == ({"low": 21, "medium": 47, "high": 73}[rule["severity"]], False)
        for field in re.findall(r"(kubernetes\.audit\.(?:[\w.-]|\\/)+):", rule["query"]):
            plain = field.replace("\\/", "/")
            bare = plain.removeprefix("kubernetes.audit.")
            assert plain in ours or bare in INDEXED or bare.startswith(("annotations.", "user.extra.")), field


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_pages_commands_send_what_was_written(tmp_path: Path) -> None:
    """Word for word, to a server that keeps what it is sent: the rules as a file of a form, the template as JSON."""
    written = sigma.write_for("elastic")
    for name, text in written.files.items():
        (tmp_path / "kibana").mkdir(exist_ok=True)
        (tmp_path / "kibana" / name).write_text(text, encoding="utf-8")
    sent: list[tuple[str, str, str, bytes]] = []

    class Keeps(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append((self.command, self.path, self.headers["Content-Type"], body))
            self.send_response(200)
            self.end_headers()

        def do_PUT(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    page = (ROOT / "docs" / "sigma.md").read_text(encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), Keeps) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        environment = {**os.environ, "KIBANA": here, "ELASTIC": here, "no_proxy": "127.0.0.1"}
        for line in re.findall(r"^curl .*$", page, re.MULTILINE):
            subprocess.run(["/bin/sh", "-c", line], check=True, cwd=tmp_path, env=environment, capture_output=True)  # noqa: S603 - our own page
        server.shutdown()

    (method, path, kind, rules), (put, where, json_type, template) = sent
    assert (method, path) == ("POST", "/api/detection_engine/rules/_import")
    assert kind.startswith("multipart/form-data")
    assert b'name="file"; filename="k8stokendetect.ndjson"' in rules
    assert written.files["k8stokendetect.ndjson"].encode() in rules
    assert (put, where, json_type) == (
        "PUT",
        "/_component_template/logs-kubernetes.audit_logs@custom",
        "application/json",
    )
    assert json.loads(template) == json.loads(written.files["logs-kubernetes.audit_logs@custom.json"])


def _mapped(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "type" in node:
        yield path
    for name, inner in node.get("properties", {}).items():
        yield from _mapped(inner, (*path, name))


OF_SPLUNK = {
    **dict.fromkeys(["search", "description"], r".+"),
    **dict.fromkeys(["enableSched", "disabled", "realtime_schedule", "alert.track", "alert.digest_mode"], r"[01]"),
    **dict.fromkeys(["alert.suppress"], r"[01]"),
    "cron_schedule": r"(\*/5|7)( \*){4}",
    **{f"dispatch.{end}_time": r"-\d+[hd]|now" for end in ("earliest", "latest")},
    **{f"dispatch.index_{end}": r"(-\d+m)?@m" for end in ("earliest", "latest")},
    **dict.fromkeys(["alert.expires", "alert.suppress.period"], r"\d+d"),
    "alert.suppress.fields": r"[\w.]+(,[\w.]+)*",
    "alert.severity": r"[1-6]",
    "counttype": "number of events",
    "relation": "greater than",
    "quantity": r"\d+",
}
"""The settings of savedsearches.conf.spec that we write, and what they may be: see `sigma.splunk`."""


def test_splunk_gets_what_it_imports() -> None:
    """Every rule and both correlations are a stanza; each search begins with our macro, which macros.conf defines."""
    written = sigma.write_for("splunk")
    stanzas = engines.savedsearches()

    assert {*stanzas} == {*sigma.RULES}
    assert not written.left_out
    assert written.files["macros.conf"] == '[kubernetes_audit]\ndefinition = sourcetype="kube:apiserver-audit"\n'
    for name, stanza in stanzas.items():
        searches = 2 if name in runner.CORRELATIONS else 1
        assert stanza["search"].count("`kubernetes_audit`") == searches
        assert stanza["disabled"] == "1"
        assert "\n\n" not in stanza["search"]
        for key, value in stanza.items():
            assert re.fullmatch(OF_SPLUNK[key], value, re.DOTALL), key
        joins = name in runner.CORRELATIONS
        assert ("alert.suppress.fields" in stanza) == joins  # as the week is searched again every hour
        assert ("dispatch.index_earliest" in stanza) == (not joins)


def test_splunk_reads_events_to_their_end() -> None:
    """A request URI of a megabyte hides no field behind it: Splunk's own limits are 5,000 and 10,000 bytes."""
    files = sigma.write_for("splunk", ["token-request"]).files
    found = configparser.ConfigParser()
    found.read_string(files["props.conf"] + files["limits.conf"])

    assert dict(found["kube:apiserver-audit"]) == {"kv_mode": "json", "truncate": "0"}
    assert found.getint("kv", "maxchars") == found.getint("spath", "extraction_cutoff") > 4_000_000
    assert (found.getint("kv", "limit"), found.getint("kv", "maxcols")) == (0, 0)


OF_SENTINEL = {
    *("id", "kind", "name", "description", "severity", "status", "version", "requiredDataConnectors"),
    *("queryFrequency", "queryPeriod", "triggerOperator", "triggerThreshold", "query"),
    *("tactics", "relevantTechniques", "entityMappings"),
}
"""The keys of an analytics rule in Azure-Sentinel: see `sigma.sentinel`."""


def test_sentinel_gets_what_it_takes() -> None:
    """The keys of an analytics rule; nothing longer than it takes; what it cannot run is said."""
    written = sigma.write_for("sentinel")
    rules = engines.sentinel()

    assert {*rules} == {*sigma.RULES} - {"token-request-impersonated"}
    assert written.left_out == {
        "TokenRequest Under an Impersonated Identity": "AKSAudit has no column for impersonatedUser"
    }
    for name, rule in rules.items():
        assert {*rule} == OF_SENTINEL
        assert (rule["kind"], rule["triggerOperator"], rule["triggerThreshold"]) == ("Scheduled", "gt", 0)
        assert rule["severity"] in {"Low", "Medium", "High"}
        assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", one) for one in rule["relevantTechniques"])
        assert {tactic for one in rule["relevantTechniques"] for tactic in TACTICS[one[:5]]} <= {*rule["tactics"]}
        assert len(rule["query"]) < MOST_CHARACTERS
        assert (rule["queryFrequency"], rule["queryPeriod"]) == ("1h", "14d" if name == "minted-token-used" else "1d")
        columns = {field["columnName"] for one in rule["entityMappings"] for field in one["fieldMappings"]}
        assert len(columns) == (4 if name in runner.CORRELATIONS else 2)  # of at most five
        assert all(f"{column} = " in rule["query"] for column in columns)
    full = sigma.write_for("sentinel", ["token-request"], form="full")
    assert [*full.files] == ["k8stokendetect.json"]
    assert "and Sentinel takes 10,000" in str(full.left_out)


TACTICS = {
    "T1078": {"InitialAccess", "Persistence", "PrivilegeEscalation", "DefenseEvasion"},
    "T1098": {"Persistence"},
    "T1550": {"DefenseEvasion", "LateralMovement"},
    "T1552": {"CredentialAccess"},
}
"""Those without which Sentinel refuses a technique: KillChainTechniquesHelper.cs, see `sigma.sentinel`."""

OF_ARM = {
    *("displayName", "enabled", "severity", "query", "queryFrequency", "queryPeriod", "triggerOperator"),
    *("triggerThreshold", "suppressionEnabled", "suppressionDuration"),
}
"""What ScheduledAlertRuleProperties requires."""


def test_sentinels_portal_gets_what_it_imports() -> None:
    """An ARM template with a resource for each rule, which says the same as its YAML and is switched off."""
    template = json.loads(sigma.write_for("sentinel").files["k8stokendetect.json"])
    rules = {rule["id"]: rule for rule in engines.sentinel().values()}

    assert template["$schema"].endswith("/2019-04-01/deploymentTemplate.json#")
    assert {*template} == {"$schema", "contentVersion", "parameters", "resources"}
    assert len(template["resources"]) == len(rules)
    for resource in template["resources"]:
        found = resource["properties"]
        (id_,) = re.findall(
            r"^\[concat\(parameters\('workspace'\),'/Microsoft.SecurityInsights/(.*)'\)\]$", resource["name"]
        )
        rule = rules[id_]
        assert {*found} - {"description", "tactics", "techniques", "entityMappings"} == OF_ARM
        assert (found["displayName"], found["query"]) == (rule["name"], rule["query"])
        assert (found["queryFrequency"], found["enabled"]) == ("PT1H", False)
        assert found["queryPeriod"] == {"1d": "P1D", "14d": "P14D"}[rule["queryPeriod"]]
        assert found["techniques"] == [*dict.fromkeys(one[:5] for one in rule["relevantTechniques"])]
        texts = (text for text in found.values() if isinstance(text, str))
        assert not any(text.startswith("[") for text in texts)  # that would be an expression


def test_a_user_says_where_the_log_is() -> None:
    """In each product's own way; what a product does not have, or what is no name, is an error."""
    token = ["token-request"]
    splunk = sigma.write_for("splunk", token, index="k8s", sourcetype="aws:eks:audit").files
    assert splunk["macros.conf"] == '[kubernetes_audit]\ndefinition = index="k8s" sourcetype="aws:eks:audit"\n'
    assert splunk["props.conf"].startswith("[aws:eks:audit]\n")
    elastic = sigma.write_for("elastic", token, index="logs-k8s-*,audit-*").files["k8stokendetect.ndjson"]
    assert json.loads(elastic)["index"] == ["logs-k8s-*", "audit-*"]
    for text in sigma.write_for("sentinel", [*token, "minted-token-used"], table="AKSAuditAdmin").files.values():
        assert "AKSAuditAdmin" in text
        assert not re.search(r"AKSAudit\b", text)
    for wrong, message in (
        ({"table": "AKSAudit"}, "splunk has no table; that is for sentinel"),
        ({"index": 'k8s" | delete'}, "is not a name"),
        ({"index": "a,b"}, "is not a name"),
        ({"sourcetype": ""}, "is not a name"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            sigma.write_for("splunk", token, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", sigma.TARGETS)
def test_the_command_writes_a_products_files(target: sigma.Target, tmp_path: Path) -> None:
    """As the function; what is left out is said on standard error."""
    result = CliRunner().invoke(command, ["--for", target, "--out", str(tmp_path)])
    written = sigma.write_for(target)

    assert result.exit_code == 0
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == written.files
    assert result.stderr.count("not written: ") == len(written.left_out)


def test_the_command_passes_the_place_on(tmp_path: Path) -> None:
    """And refuses one for Sigma itself, which names none."""
    arguments = ["token-request", "--for", "splunk", "--index", "k8s", "--sourcetype", "audit", "--out", str(tmp_path)]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert 'index="k8s" sourcetype="audit"' in (tmp_path / "macros.conf").read_text(encoding="utf-8")
    for refused in (["--index", "k8s"], ["--for", "elastic", "--table", "T"]):
        result = CliRunner().invoke(command, ["token-request", *refused])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")


def test_a_file_that_another_rule_would_overwrite_is_not_written_twice() -> None:
    """Each analytics rule has a file of its own."""
    names = [name for name in sigma.write_for("sentinel").files if name.endswith(".yaml")]
    assert len(names) == len({name.lower() for name in names}) == len(engines.sentinel())
