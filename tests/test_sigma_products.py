# SPDX-License-Identifier: Apache-2.0
"""The names of fields in products, and the files that these import."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sigma_engines as engines
import sigma_lucene as lucene
import sigma_runner as runner
import spl
from k8stokendetect import ConfigError, sigma
from k8stokendetect.cli.app import sigma as command
from k8stokendetect.sigma.pipelines import FIELDS, keys
from k8stokendetect.sigma.products import MOST_CHARACTERS, NOT_INDEXED

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


def test_kibana_gets_what_it_imports() -> None:
    """The fields that its API requires of a rule, and queries of fields that are indexed with our template."""
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
        assert {"name", "description", "risk_score", "severity", "type", "query", "language", "index"} <= {*rule}
        assert rule["rule_id"] == str(sigma.rule_id(name))
        assert (rule["type"], rule["language"], rule["index"]) == ("query", "lucene", ["logs-kubernetes.audit_logs-*"])
        assert rule["severity"] in {"low", "medium", "high", "critical"}
        assert (rule["risk_score"], rule["enabled"]) == ({"low": 21, "medium": 47, "high": 73}[rule["severity"]], False)
        for field in re.findall(r"(kubernetes\.audit\.(?:[\w.-]|\\/)+):", rule["query"]):
            plain = field.replace("\\/", "/")
            bare = plain.removeprefix("kubernetes.audit.")
            assert plain in ours or bare in INDEXED or bare.startswith(("annotations.", "user.extra.")), field


def _mapped(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "type" in node:
        yield path
    for name, inner in node.get("properties", {}).items():
        yield from _mapped(inner, (*path, name))


def test_splunk_gets_what_it_imports() -> None:
    """Every rule and both correlations are a stanza; each search begins with our macro, which macros.conf defines."""
    written = sigma.write_for("splunk")
    stanzas = engines.savedsearches()

    assert {*stanzas} == {*sigma.RULES}
    assert not written.left_out
    assert written.files["macros.conf"].startswith("[kubernetes_audit]\ndefinition = ")
    for name, stanza in stanzas.items():
        searches = 2 if name in runner.CORRELATIONS else 1
        assert stanza["search"].count("`kubernetes_audit`") == searches
        assert stanza["disabled"] == "1"
        assert stanza["dispatch.earliest_time"] == ("-7d" if searches == 2 else "-10m")
        assert "\n\n" not in stanza["search"]


def test_sentinel_gets_what_it_imports() -> None:
    """The keys of an analytics rule; nothing longer than it takes; what it cannot run is said."""
    written = sigma.write_for("sentinel")
    rules = engines.sentinel()

    assert {*rules} == {*runner.SINGLE} - {"token-request-impersonated"}
    assert len(written.files) + len(written.left_out) == len(sigma.RULES)
    assert "AKSAudit has no column for impersonatedUser" in written.left_out.values()
    for rule in rules.values():
        assert {"id", "name", "description", "severity", "queryFrequency", "queryPeriod", "tactics"} <= {*rule}
        assert (rule["kind"], rule["triggerOperator"], rule["triggerThreshold"]) == ("Scheduled", "gt", 0)
        assert rule["severity"] in {"Low", "Medium", "High"}
        assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", one) for one in rule["relevantTechniques"])
        assert rule["tactics"]
        assert len(rule["query"]) < MOST_CHARACTERS
    full = sigma.write_for("sentinel", ["token-request"], form="full")
    assert not full.files
    assert "and Sentinel takes 10,000" in str(full.left_out)


@pytest.mark.parametrize("target", sigma.TARGETS)
def test_the_command_writes_a_products_files(target: sigma.Target, tmp_path: Path) -> None:
    """As the function; what is left out is said on standard error."""
    result = CliRunner().invoke(command, ["--for", target, "--out", str(tmp_path)])
    written = sigma.write_for(target)

    assert result.exit_code == 0
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == written.files
    assert result.stderr.count("not written: ") == len(written.left_out)


def test_a_file_that_another_rule_would_overwrite_is_not_written_twice() -> None:
    """Each analytics rule has a file of its own."""
    names = [*sigma.write_for("sentinel").files]
    assert len(names) == len({name.lower() for name in names}) == len(engines.sentinel())
