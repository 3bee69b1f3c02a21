# SPDX-License-Identifier: Apache-2.0
"""Exclusions from TOML: as strict as everything else, with errors that name file, key and what was meant."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from builders import exclusion_of
from k8stokendetect import Actor, ConfigError, Exclusion, Provenance, load_exclusions
from k8stokendetect.exclusions import TokenShape, kubernetes, secret_stores

GOOD = """
enable = ["external-secrets"]

[[exclusion]]
id = "acme"
rules = ["token-request"]
actor = { username = "system:serviceaccount:ci:deployer", in_pod = true }
namespaces = ["ci"]
names = ["app"]
token = { bound_kind = "Pod", audiences = ["vault"], longest = 900 }
because = "It deploys."
hides = "Whoever runs code in it can mint."
provenance = [{ source = "https://wiki.example", checked = 2026-11-24 }]
platforms = ["eks"]
expires = 2027-01-31
"""


FIELDS = GOOD.partition("[[exclusion]]")[2]
WITH_ID = FIELDS.replace('"acme"', '"other"')


def test_an_entry_whose_first_line_is_missing_is_recognised(tmp_path: Path) -> None:
    """Where half of a table still is a comment, `Cannot overwrite a value` alone helps nobody; others get no hint."""
    whole = f"[[exclusion]]{FIELDS}"
    for text, number in {
        FIELDS: 1,
        f"{FIELDS}{WITH_ID}": 1,
        f"{whole}# [[exclusion]]{WITH_ID}": 1,
        f"{whole}typo = 1": 0,
        f"{whole}[[exclusion]]{WITH_ID}=": 0,
    }.items():
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, text)
        assert str(raised.value).count("an entry begins with the line [[exclusion]]") == number, text


def load(tmp_path: Path, text: str) -> tuple[Exclusion, ...]:
    """Load a file of this text."""
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_exclusions(path)


def test_a_file_holds_names_to_switch_on_and_entries(tmp_path: Path) -> None:
    """Every key becomes the field of its name."""
    mine = exclusion_of(
        id="acme",
        rules=("token-request",),
        actor=Actor(username="system:serviceaccount:ci:deployer", in_pod=True),
        namespaces=("ci",),
        names=("app",),
        token=TokenShape(bound_kind="Pod", audiences=("vault",), longest=900),
        because="It deploys.",
        hides="Whoever runs code in it can mint.",
        provenance=(Provenance(source="https://wiki.example", checked=date(2026, 11, 24)),),
        platforms=frozenset({"eks"}),
        expires=date(2027, 1, 31),
    )
    assert load(tmp_path, GOOD) == (secret_stores.EXTERNAL_SECRETS, mine)
    assert load(tmp_path, "") == ()


def test_an_entry_may_refer_to_a_component_that_ships(tmp_path: Path) -> None:
    """It has the component's proofs and words; what else is given holds instead."""
    text = '[[exclusion]]\nid = "node"\ncomponent = "kubelet"\nrules = ["token-request"]\nexpires = 2027-01-31'
    (node,) = load(tmp_path, text)

    assert node.component == kubernetes.KUBELET.component
    assert (node.id, node.rules, node.expires) == ("node", ("token-request",), date(2027, 1, 31))
    assert (node.because, node.hides) == (kubernetes.KUBELET.because, kubernetes.KUBELET.hides)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('component = "kubelets"', "unknown exclusion 'kubelets'; did you mean 'kubelet'"),
        ('component = "kubelet"\nnamespaces = ["prod"]', "says who it is: namespaces cannot be given as well"),
        ("component = 7", r"expected a string, got a number @ \$.exclusion\[0\].component"),
    ],
)
def test_a_component_is_whole_or_another(tmp_path: Path, line: str, message: str) -> None:
    """An unknown one, and one of which a proof is replaced, are errors."""
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f"[[exclusion]]\n{line}")


def test_without_rules_every_rule_about_minting_is_meant(tmp_path: Path) -> None:
    """An empty list is an error, since it would mean nothing."""
    assert load(tmp_path, GOOD.replace('rules = ["token-request"]\n', ""))[1].rules is None
    with pytest.raises(ConfigError, match="exclusion 'acme': rules is empty"):
        load(tmp_path, GOOD.replace('rules = ["token-request"]', "rules = []"))


def test_several_user_names(tmp_path: Path) -> None:
    """One text or a list of them."""
    text = GOOD.replace(
        '"system:serviceaccount:ci:deployer"', '["system:serviceaccount:ci:a", "system:serviceaccount:ci:b"]'
    )
    assert load(tmp_path, text)[1].component.actor.username == (
        "system:serviceaccount:ci:a",
        "system:serviceaccount:ci:b",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("external-secrets", "external-secret", "unknown exclusion 'external-secret'; did you mean 'external-secrets'"),
        ("enable", "enabled", "unknown key 'enabled'; did you mean 'enable'?"),
        ("namespaces =", "namespace =", "unknown key 'namespace'; did you mean 'namespaces'"),
        ("in_pod", "inpod", "unknown key 'inpod'; did you mean 'in_pod'?"),
        ("longest", "maximum", "unknown key 'maximum'; known: audiences, bound_kind, longest"),
        ('["ci"]', '"ci"', r"expected a list of strings, got a string @ \$.exclusion\[0\].namespaces"),
        ("in_pod = true", "in_pod = 1", r"expected a boolean, got a number @ \$.exclusion\[0\].actor.in_pod"),
        ('= "system:serviceaccount:ci:deployer"', "= [7]", r"got a number @ \$.exclusion\[0\].actor.username"),
        ("longest = 900", "longest = 9.5", r"expected an integer, got a number @ \$.exclusion\[0\].token.longest"),
        ("2027-01-31", '"2027"', "expected a date such as 2026-11-24, got a string"),
        ("2027-01-31", "2027-01-31T00:00:00Z", "expected a date such as 2026-11-24"),
        ('platforms = ["eks"]', 'platforms = ["ekz"]', "component 'acme': unknown platform"),
        ('platforms = ["eks"]', 'if_unseen = "hide"', "expected 'report' or 'exclude', got a string"),
        ("[[exclusion]]", "[exclusion]", r"expected a list, got an object @ \$.exclusion"),
        ('hides = "Whoever runs code in it can mint."', "", r"required field missing @ \$.exclusion\[0\].hides"),
        ('"It deploys."', '""', "exclusion 'acme': because is empty"),
        ("system:serviceaccount:ci:deployer", "deployer", "a username alone proves nothing"),
        ("enable =", "enable", "not TOML"),
        ("[[exclusion]]", "exclusion = 3\n[x]", "@|unknown key"),
    ],
)
def test_a_mistake_is_an_error_that_names_it(tmp_path: Path, old: str, new: str, message: str) -> None:
    """With the file, and without a traceback of the parser."""
    assert old in GOOD
    with pytest.raises(ConfigError, match=message) as raised:
        load(tmp_path, GOOD.replace(old, new))

    assert str(raised.value).startswith(str(tmp_path / "mine.toml"))


def test_an_id_may_stand_there_once(tmp_path: Path) -> None:
    """Also when an entry of yours has the name of one that ships and is switched on."""
    with pytest.raises(ConfigError, match="exclusion 'external-secrets' appears twice"):
        load(tmp_path, GOOD.replace('id = "acme"', 'id = "external-secrets"'))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It does not mean that there are no exclusions."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_exclusions(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="not TOML"):
        load_exclusions("\0")
    with pytest.raises(ConfigError, match="not TOML"):
        load(tmp_path, f"x = {'[' * 5000}")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: not TOML"):
        load_exclusions(tmp_path / "binary.toml")
