# SPDX-License-Identifier: Apache-2.0
"""SigmaHQ would take the rules: its validators, its schemas, its yamllint settings and its conventions."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from sigma.collection import SigmaCollection
from sigma.data import mitre_attack
from sigma.plugins import InstalledSigmaPlugins
from sigma.validation import SigmaValidator
from sigma.validators.sigmahq.data import data_filename, data_taxonomy

import sigma_runner as runner
from k8stokendetect import sigma
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from k8stokendetect.sigma.forms import FORMS
from recordings import DATA


@functools.cache
def files() -> dict[tuple[str, str], str]:
    """Return the text of each file by its form and name."""
    return {(form, name): text for form in sigma.FORM_NAMES for name, text in sigma.export(form=form)}


TACTICS = {
    "T1078.004": ("initial-access", "persistence", "privilege-escalation", "stealth"),
    "T1098": ("persistence", "privilege-escalation"),
    "T1098.006": ("persistence", "privilege-escalation"),
    "T1550.001": ("lateral-movement",),
    "T1552.001": ("credential-access",),
    "T1552.007": ("credential-access",),
}
"""Of ATT&CK 19, see `sigma.conventions`; pySigma would fetch all of ATT&CK over the network."""


@pytest.fixture
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the validators what they would download: ATT&CK, and SigmaHQ's lists of log sources and names of files."""

    def reference(name: str) -> dict[str, Any]:
        return {"external_references": [{"source_name": "mitre-attack", "external_id": name}], "name": name}

    phases = {id_: [{"kill_chain_name": "mitre-attack", "phase_name": one} for one in TACTICS[id_]] for id_ in TACTICS}
    objects = [{"type": "attack-pattern", "kill_chain_phases": phases[id_], **reference(id_)} for id_ in TACTICS]
    tactics = sorted({tactic for names in TACTICS.values() for tactic in names})
    objects += [
        {"type": "x-mitre-tactic", "x_mitre_shortname": tactic, **reference(f"TA{place:04}")}
        for place, tactic in enumerate(tactics)
    ]
    source = {"product": "kubernetes", "service": "audit"}
    lists = {
        mitre_attack: {"objects": objects},
        data_taxonomy: {"taxonomy": {"audit": {"logsource": source, "field": {}}}},
        data_filename: {"pattern": {"audit": {"logsource": source, "prefix": "kubernetes_"}}},
    }
    diskcache: Any = importlib.import_module("diskcache")
    opened: list[Any] = []

    def cache(*arguments: Any, **options: Any) -> Any:
        opened.append(made(*arguments, **options))
        return opened[-1]

    made = diskcache.Cache
    monkeypatch.setattr(diskcache, "Cache", cache)  # `set_url` drops one without closing it
    for place, (module, content) in enumerate(lists.items()):
        loader: Any = module
        file = tmp_path / f"{place}.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        loader.set_cache_dir(str(tmp_path / f"cache{place}"))
        loader.set_url(str(file))
    yield
    for one in opened:
        one.close()


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("form", sigma.FORM_NAMES)
def test_the_validators_have_nothing_to_say(form: sigma.FormName, tmp_path: Path) -> None:
    """All of pySigma's and all of SigmaHQ's but D3FEND's, which downloads a list to judge tags that no rule has."""
    found = InstalledSigmaPlugins.autodiscover(include_backends=False, include_pipelines=False).validators
    chosen: list[Any] = [validator for name, validator in found.items() if name != "d3_fendtag"]
    for name, text in sigma.export(form=form):
        (tmp_path / name).write_text(text, encoding="utf-8")
    rules = SigmaCollection.load_ruleset([tmp_path], recursion_pattern="*.yml")
    judge: Any = SigmaValidator(chosen)

    assert len(chosen) >= 70
    assert sum(name.startswith("sigmahq_") for name in found) >= 35
    assert len(rules.rules) == len(dict(sigma.export()))
    assert not rules.errors
    assert [str(issue) for issue in judge.validate_rules(rules.rules)] == []


def test_the_schemas_accept_every_file() -> None:
    """SigmaHQ's JSON schemas (sigma-specification@ba9251aa, public domain), with dates as text as YAML has them."""
    schemas = {
        kind: jsonschema_rs.validator_for(json.loads((DATA / "schemas" / f"sigma-{kind}.json").read_text("utf-8")))
        for kind in ("detection", "correlation")
    }
    for text in files().values():
        (document,) = runner.documents(text)
        plain = {**document, "date": str(document["date"])}
        assert [
            error.message
            for error in schemas["detection" if "detection" in plain else "correlation"].iter_errors(plain)
        ] == []


def test_the_lines_are_as_yamllint_wants_them() -> None:
    """SigmaHQ's .yamllint (sigma@8eaafff1), checked here since yamllint itself has a licence that we do not use.

    Four spaces, but two after a hyphen; no `---`; no spaces at the end of a line; a space after `#`; one last newline.
    """
    for text in files().values():
        assert not re.search(r"^---", text, re.MULTILINE)
        assert not re.search(r"[ \t]$|\t|\r", text, re.MULTILINE)
        assert not re.search(r"^ *#[^ ]", text, re.MULTILINE)
        assert re.search(r"[^\n]\n\Z", text)
        assert "\n\n\n\n" not in text
        above, is_item = 0, False
        for line in text.splitlines():
            bare = line.lstrip(" ")
            step = len(line) - len(bare) - above
            assert step <= 0 or step == 4 or (is_item and step in {2, 6}), (
                line
            )  # a list within an item's mapping: 2 + 4
            above, is_item = above + step, bare.startswith("- ")


def test_every_file_keeps_to_the_conventions() -> None:
    """Names, description, licence, tags of all tactics, what the log must hold; see sigma-specification/sigmahq."""
    names = [name for form, name in files() if form == "short"]

    assert {sigma.file_name(rule) for form in FORMS for rule in [form.detector.rule.id]} <= {*names}
    for name in names:
        keeps_to_the_conventions(name)


def keeps_to_the_conventions(name: str) -> None:
    """Check the short form of a file."""
    (document,) = runner.documents(files()["short", name])

    assert re.fullmatch(r"(correlation_)?kubernetes_audit_[a-z0-9_]{4,60}\.yml", name)
    assert name.startswith("correlation_") == ("correlation" in document)
    assert (document["status"], document["author"], document["license"]) == (
        "experimental",
        "k8stokendetect",
        "Apache-2.0",
    )
    assert document["date"] == date(2026, 11, 25)
    assert document["description"].startswith("Detects ") or document["level"] == "informational"
    assert "attack.mitre.org" not in str(document.get("references"))
    tags = {tag.removeprefix("attack.") for tag in document.get("tags", [])}
    for technique, tactics in TACTICS.items():
        assert technique.lower() not in tags or {*tactics} <= tags
    assert not any("defense-evasion" in tag for tag in tags)
    assert not any(text.lower().startswith("none") for text in document["falsepositives"])
    if "detection" in document:
        source = document["logsource"]
        assert (source["product"], source["service"]) == ("kubernetes", "audit")
        assert re.search(r"at level (Metadata|Request|RequestResponse) or above", source["definition"])
        filters = [key for key in document["detection"] if key.startswith("filter_")]
        assert all(re.fullmatch(r"filter_(main|optional)_\w+", key) for key in filters)


def test_what_is_said_is_the_detectors_own() -> None:
    """Title, text, level, techniques and false positives come from the rule; the level of the log from the form."""
    by_id = {cls.rule.id: cls.rule for cls in (*BUILTIN, *OPTIONAL)}
    for form in FORMS:
        own = by_id[form.detector.rule.id]
        (document,) = runner.documents(files()["short", sigma.file_name(own.id)])
        assert document["title"].lower() == own.title.lower()
        assert document["id"] == str(sigma.rule_id(own.id))
        _, *others = re.split(r"\.\s+(?=[A-Z0-9])", own.description, maxsplit=1)
        assert document["description"].startswith("Detects ")
        assert " ".join(document["description"].split()).endswith("".join(others))
        assert document["level"] == str(own.severity)
        assert {f"attack.{one.lower()}" for one in own.techniques} <= {*document["tags"]}
        assert f"at level {form.level} or above" in document["logsource"]["definition"]


def test_components_that_not_every_cluster_has_are_optional_filters() -> None:
    """Kubelet and controller managers are Kubernetes; Calico, and what a site switches on, is not."""
    text = sigma.rule_for("token-request", exclusions=["kubelet", "kube-controller-manager", "canal", "flux"])

    assert re.findall(r"^    (filter_\w+):", text, re.MULTILINE) == [
        "filter_main_kubelet",
        "filter_main_kube_controller_manager",
        "filter_optional_calico",
        "filter_optional_flux",
    ]
    assert "condition: 'selection and not 1 of filter_main_* and not 1 of filter_optional_*'" in text
    aks = sigma.rule_for("token-request", exclusions=["aks-service"], platform="aks")
    assert "filter_main_aks_service" in aks


def test_a_description_says_nothing_twice() -> None:
    """The sentence after `Detects` stands in for the first one of the rule's own description."""
    for form, name in files():
        if form != "short":
            continue
        (document,) = runner.documents(files()[form, name])
        first, *others = re.split(r"(?<=\.)\s+(?=[A-Z0-9])", " ".join(document["description"].split()))
        words = set(re.findall(r"[a-z]{4,}", first.lower()))
        for sentence in others:
            assert len(words & set(re.findall(r"[a-z]{4,}", sentence.lower()))) <= len(words) / 2, (first, sentence)
