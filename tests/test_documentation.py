# SPDX-License-Identifier: Apache-2.0
"""Every code block of README and docs runs, and every number in the README is computed anew."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from k8stokendetect import detect, load_exclusions
from k8stokendetect.cli import main
from recordings import METADATA, REQUEST_RESPONSE, labelled_token_requests, records
from recordings import labels as recorded_labels

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@attrs.frozen
class Block:
    """A fenced block: where it stands, its language, its text."""

    page: str
    line: int
    language: str
    text: str


def blocks() -> list[Block]:
    """Collect every fenced block of the README and the pages."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        content = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\S*)\n(.*?)^```$", content, re.MULTILINE | re.DOTALL):
            line = content[: match.start()].count("\n") + 1
            found.append(Block(page.name, line, match[1], match[2]))
    return found


def of_language(language: str) -> pytest.MarkDecorator:
    """Parametrize over the blocks of a language."""
    chosen = [block for block in blocks() if block.language == language]
    return pytest.mark.parametrize("block", chosen, ids=[f"{block.page}:{block.line}" for block in chosen])


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the blocks what they speak of: `audit.log`, `acme.toml` and `examples/`."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "examples/attack.log", tmp_path / "audit.log")
    shutil.copy(ROOT / "examples/acme-exclusions.toml", tmp_path / "acme.toml")
    monkeypatch.chdir(tmp_path)


def test_every_block_has_a_test() -> None:
    """No language that nothing below runs."""
    assert {"python", "sh", "toml", "text", "{toctree}"} == {block.language for block in blocks()}


@of_language("python")
def test_python(block: Block) -> None:
    """It runs as it stands, in a namespace of its own."""
    exec(compile(block.text, f"{block.page}:{block.line}", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text


@of_language("toml")
def test_toml(block: Block) -> None:
    """It is a file of exclusions."""
    Path("block.toml").write_text(block.text, encoding="utf-8")
    assert load_exclusions("block.toml")


def run(command: str) -> str:
    """Run one command of a shell block; installing and pytest are what .ci/run does, word for word."""
    words = shlex.split(command)
    if words[:2] == ["pip", "install"] or words == ["pytest"]:
        extras = re.findall(r"[a-z]+", words[-1].partition("[")[2])
        assert set(extras) <= set(PROJECT["optional-dependencies"])
        return ""
    assert words[0] in PROJECT["scripts"]
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code in {0, 1}, result.output
    return result.output


@of_language("sh")
def test_shell(block: Block) -> None:
    """Every command of it is understood and reads what it should."""
    for line in block.text.splitlines():
        for command in line.split(" && "):
            run(command)


def test_ci_runs_the_commands_of_the_readme() -> None:
    """The two that install are run by .ci/run as they stand here."""
    installing = [block.text.strip() for block in blocks() if block.text.startswith("pip install")]
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")

    assert len(installing) == 2
    assert "installs as README.md says" in script
    for command in installing:
        assert f"\n{command}" in script


@of_language("text")
def test_output(block: Block) -> None:
    """It is what the first command really prints."""
    printed = run("k8stokendetect scan examples/attack.log")
    assert block.text in printed


def test_the_numbers_of_the_example() -> None:
    """As the README says."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    events = (ROOT / "examples/attack.log").read_bytes().count(b"\n")

    assert f"a recorded attack of {events} events" in readme
    assert "eight tokens were minted" in readme
    assert "prints two incidents" in readme
    assert run("k8stokendetect scan examples/attack.log --format json --incidents").count('"id"') == 2
    assert run("k8stokendetect scan examples/attack.log --format json --rule token-request").count('"rule_id"') == 8


USERNAME_LIST = (
    "system:kube-controller-manager system:kube-scheduler system:node:* system:serviceaccount:kube-system:* eks:* "
    "aksService aks-service masterclient nodeclient system:gke-controller-manager "
    "system:serviceaccount:tigera-operator:* system:serviceaccount:calico-system:*"
).split()


def by_username_list(record: dict[str, dict[str, str]]) -> bool:
    """Judge as the common kind of rule does: the call, and a list of user names; no stage, code or groups."""
    username = record["user"].get("username", "")
    return bool(username) and not any(fnmatch.fnmatchcase(username, pattern) for pattern in USERNAME_LIST)


def test_the_numbers_of_the_comparison() -> None:
    """Joined from the labels; `token-request` has its own test on the same recording."""
    labels = [label for label in labelled_token_requests(METADATA).values() if label["event"]["verb"] == "create"]
    reported = [label for label in labels if by_username_list(label["event"])]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def count(*, mint: bool, malicious: bool) -> int:
        return sum((label["kind"] == "mint-ok", label["malicious"]) == (mint, malicious) for label in reported)

    mints = [label for label in labels if label["kind"] == "mint-ok"]
    malicious = [label for label in mints if label["malicious"]]
    assert f"{len(malicious)} malicious mints among\n{len(mints)}" in readme
    assert f"| malicious mints reported | {count(mint=True, malicious=True)} of {len(malicious)} |" in readme
    assert f"| benign mints reported | {count(mint=True, malicious=False)} (" in readme
    minted = {finding.event.audit_id for finding in detect(METADATA, detectors=["token-request"])}
    uses = {
        label["auditID"]
        for label in recorded_labels(METADATA)
        if label["kind"] == "token-use" and label["malicious"] and label.get("minted_by") in minted
    }
    joined = {finding.event.audit_id for finding in detect(METADATA, detectors=["minted-token-used"])}
    assert f"| none | {len(uses & joined)} of {len(uses)} (`minted-token-used`) |" in readme
    refused = count(mint=False, malicious=True) + count(mint=False, malicious=False)
    assert f"| refused requests reported as mints | {refused} |" in readme
    calls = [record for record in records(REQUEST_RESPONSE) if record["objectRef"].get("subresource") == "token"]
    stages = [record for record in calls if record["verb"] == "create" and by_username_list(record)]
    assert len(stages) == 2 * len({record["auditID"] for record in stages})


def test_pages_link_to_what_exists() -> None:
    """No dead link inside the repository."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_custom_detector_of_the_examples(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs as a script."""
    monkeypatch.setattr("sys.argv", ["custom_detector.py", "audit.log"])
    script = (ROOT / "examples/custom_detector.py").read_text(encoding="utf-8")
    exec(compile(script, "custom_detector.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text

    assert capsys.readouterr().out.splitlines() == [
        "high default/web minted a token for kube-system/clusterrole-aggregation-controller",
        "high dev/chain-b minted a token for prod/chain-c",
    ]
