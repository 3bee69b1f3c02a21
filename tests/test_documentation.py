# SPDX-License-Identifier: Apache-2.0
"""Every code block of README and docs runs, and every number in the README is computed anew."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from click.testing import CliRunner

import minutes
import packing
import pictures
import wrappings.azure
import wrappings.cloudwatch
import wrappings.gcp
from k8stokendetect import detect, load_exclusions
from k8stokendetect.audit_policy import AuditPolicy, hints, review
from k8stokendetect.cli import main
from k8stokendetect.cli.screen import NO_TERMINAL
from k8stokendetect.commands import BUILTIN_COMMANDS
from k8stokendetect.detectors import BUILTIN, OPTIONAL
from listing_server import ListingServer, kubeconfig, serving
from recordings import METADATA, REQUEST_RESPONSE, labelled_token_requests, records
from recordings import labels as recorded_labels
from scores import by_username_list

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.parent.name != "detectors")]
"""Those that are written by hand: the build writes docs/detectors/ from the rules."""

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
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\S*)\n(.*?)^```$", content, re.MULTILINE | re.DOTALL):
            line = content[: match.start()].count("\n") + 1
            found.append(Block(page.name, line, match[1], match[2]))
    return found


def of_language(language: str) -> pytest.MarkDecorator:
    """Parametrize over the blocks of a language."""
    chosen = [block for block in blocks() if block.language == language]
    return pytest.mark.parametrize("block", chosen, ids=[f"{block.page}:{block.line}" for block in chosen])


def recommended() -> str:
    """Return the audit policy that the documentation recommends."""
    return policies()[-1]


def policies() -> list[str]:
    """Return the audit policies on their page: one with an unknown key, and the recommended one."""
    return [block.text for block in blocks() if block.page == "audit-policy.md" and block.language == "yaml"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with `audit.log`, plain and packed, `acme.toml`, `policy.yaml`, `examples/` and `tests/data`."""
    tmp_path = tmp_path_factory.mktemp("documentation")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/data").symlink_to(ROOT / "tests/data", target_is_directory=True)
    shutil.copy(ROOT / "examples/attack.log", tmp_path / "audit.log")
    shutil.copy(ROOT / "examples/acme-exclusions.toml", tmp_path / "acme.toml")
    log = (ROOT / "examples/attack.log").read_bytes()
    for ending, name in {"zst": "zstd", "bz2": "bzip2", "xz": "xz", "lz4": "lz4"}.items():
        (tmp_path / f"audit.log.{ending}").write_bytes(packing.COMPRESSIONS[name](log))
    (tmp_path / "logs.zip").write_bytes(packing.zip_of({"node1/audit.log": log}))
    (tmp_path / "must-gather.tar.gz").write_bytes(packing.tar_of({"node1/audit.log": log}, "gz"))
    (tmp_path / "audit-utf16.log").write_bytes(log.decode().encode("utf-16"))
    (tmp_path / "policy.yaml").write_text(recommended(), encoding="utf-8")
    return tmp_path


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_log(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each block a copy of its own."""
    shutil.copytree(filled, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def test_every_block_has_a_test() -> None:
    """No language that nothing below runs; the build runs what is Sphinx' own."""
    run_here = {"python", "sh", "toml", "text", "yaml"}

    assert {block.language for block in blocks()} <= run_here | {"{toctree}", "{eval-rst}"}


@of_language("python")
def test_python(block: Block) -> None:
    """It runs as it stands, in a namespace of its own, and goes on behind a record that nobody can read."""
    if block.page == "spark.md":
        return  # tests/test_spark_page.py: it needs Spark
    poison = b'{"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": 7}\n{"kind"\n'
    Path("audit.log").write_bytes(poison + Path("audit.log").read_bytes())
    with production() if "load_live" in block.text else contextlib.nullcontext():
        exec(compile(block.text, f"{block.page}:{block.line}", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own


@of_language("toml")
def test_toml(block: Block) -> None:
    """It is a file of exclusions; one of sinks is opened by tests/test_deploy.py."""
    if block.text.startswith("[[sink]]"):
        return
    Path("block.toml").write_text(block.text, encoding="utf-8")
    assert load_exclusions("block.toml")


@of_language("yaml")
def test_yaml(block: Block) -> None:
    """It is YAML; an audit policy is one that the API server takes."""
    for document in yaml.safe_load_all(block.text):
        assert document
        if document.get("kind") == "Policy":
            AuditPolicy.load(block.text.encode())


def test_the_policy_to_start_from() -> None:
    """With it every rule works, as its page says, and no credential is written into the log."""
    policy = AuditPolicy.load(recommended().encode())
    default = {cls.rule.id for cls in (*BUILTIN, *OPTIONAL)}

    assert {found.verdict for found in review(policy) if found.rule_id in default} == {"works"}
    assert not hints(policy)


def test_the_policy_with_an_unknown_key_gets_the_warning_that_is_shown() -> None:
    """Word for word, line breaks aside."""
    page = (ROOT / "docs/how-to/audit-policy.md").read_text(encoding="utf-8")
    shown = " ".join(line.removeprefix("> ") for line in page.splitlines() if line.startswith("> "))

    assert shown == f"warning: {hints(AuditPolicy.load(policies()[0].encode()))[0]}"


def by_lines(wrap: Callable[[Any], Any]) -> Callable[[list[Any]], str]:
    """Return what writes a line for each event."""
    return lambda events: "".join(f"{json.dumps(wrap(event))}\n" for event in events)


TOOLS: dict[str, Callable[[list[Any]], str]] = {
    "aws": lambda events: json.dumps({"events": [wrappings.cloudwatch.filtered_event(event) for event in events]}),
    "az": by_lines(wrappings.azure.record),
    "gcloud": lambda events: json.dumps([wrappings.gcp.entry(event) for event in events]),
    "oc": lambda events: "".join(f"master-{index % 3} {json.dumps(event)}\n" for index, event in enumerate(events)),
}
"""What the vendors' tools print, for a recorded log: they need an account, all that comes behind them runs."""


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_vendors_tool_prints_is_scanned(tool: str) -> None:
    """The how-to's own command finds the eight mints of the recorded attack in it, and reads every record."""
    (line,) = (
        line for b in blocks() if b.language == "sh" for line in b.text.splitlines() if line.startswith(f"{tool} ")
    )
    words = shlex.split(line.rpartition(" | ")[2])
    attack = (ROOT / "examples/attack.log").read_bytes().split(b"\n")
    result = CliRunner().invoke(main, words[1:], input=TOOLS[tool]([json.loads(text) for text in attack if text]))

    assert words[0] == "k8stokendetect"
    assert "unreadable: 0" in result.stderr
    assert "(token-request 8," in result.stderr


@contextlib.contextmanager
def production() -> Iterator[None]:
    """Serve the example's cluster as the context `prod` of the kubeconfig that KUBECONFIG names."""
    items = json.loads((ROOT / "examples/attack-cluster.json").read_bytes())["items"]
    with serving(ListingServer(items)) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig(Path(), address)))
        yield


def run(command: str) -> str:
    """Run one command of a shell block; installing and pytest are what .ci/run does, word for word."""
    command, _, target = command.partition(" > ")
    words = shlex.split(command)
    if words[:2] == ["pip", "install"] or words == ["pytest"]:
        extras = re.findall(r"[a-z]+", words[-1].partition("[")[2])
        assert set(extras) <= set(PROJECT["optional-dependencies"])
        return ""
    assert words[0] in PROJECT["scripts"]
    with production() if "--context" in words else contextlib.nullcontext():
        result = CliRunner().invoke(main, words[1:], env={"COLUMNS": str(NO_TERMINAL)})
    assert result.exit_code in {0, 1}, result.output
    if target:
        Path(target).write_text(result.stdout, encoding="utf-8")
    return result.output


@of_language("sh")
def test_shell(block: Block) -> None:
    """Every command of it is understood and reads what it should."""
    for line in block.text.splitlines():
        if line.split(" ")[0] in TOOLS:
            continue  # test_what_a_vendors_tool_prints_is_scanned
        if line.startswith("k8stokendetect serve "):
            continue  # tests/test_deploy.py: it would not end
        if block.page == "sigma.md" and line.startswith("curl "):
            continue  # tests/test_sigma_products.py: it needs a server
        for command in line.split(" && "):
            run(command)


def test_ci_runs_the_commands_of_the_readme() -> None:
    """The two that install are run by .ci/run as they stand here, but that it measures what the tests cover."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    installing = re.findall(r"pip install [^`\n]+", readme)
    text = (ROOT / ".ci/run").read_text(encoding="utf-8").replace("python -m slipcover -m pytest", "pytest")
    script = [line.strip() for line in text.splitlines()]

    assert len(installing) == 2
    for command in installing:
        assert [line for line in script if line.startswith(command)]


@of_language("text")
def test_output(block: Block) -> None:
    """It is what the page's command really prints; a page with a log of its own has a test of its own."""
    if block.page in {minutes.PAGE.name, minutes.CASES.name}:
        return
    commands = {
        "doctor.md": "doctor examples/attack.log",
        "who-can-mint.md": "who-can-mint examples/attack-cluster.json",
        "follow-a-token.md": "scan examples/cloud/audit.log examples/cloud/cloudtrail "
        "--cluster examples/cloud-objects.json",
    }
    assert block.text in run(f"k8stokendetect {commands.get(block.page, 'scan examples/attack.log')}")


def test_the_numbers_of_the_example() -> None:
    """As the README says."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    events = (ROOT / "examples/attack.log").read_bytes().count(b"\n")

    assert f"[recorded attack](examples/) of {events} events" in readme
    assert "Eight tokens were minted" in readme
    assert "prints two incidents" in readme
    assert run("k8stokendetect scan examples/attack.log --format json --incidents").count('"number_of_alerts"') == 2
    assert (
        run("k8stokendetect scan examples/attack.log --format json --findings --rule token-request").count('"rule_id"')
        == 8
    )


def test_the_numbers_of_the_comparison() -> None:
    """Joined from the labels; `token-request` has its own test on the same recording."""
    labels = [label for label in labelled_token_requests(METADATA).values() if label["event"]["verb"] == "create"]
    reported = [label for label in labels if by_username_list(label["event"])]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def count(*, mint: bool, malicious: bool) -> int:
        return sum((label["kind"] == "mint-ok", label["malicious"]) == (mint, malicious) for label in reported)

    mints = [label for label in labels if label["kind"] == "mint-ok"]
    malicious = [label for label in mints if label["malicious"]]
    assert f"{len(malicious)} malicious mints among {len(mints)})" in readme
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


@pytest.mark.parametrize("theme", list(pictures.THEMES))
def test_the_picture_of_the_terminal_is_what_it_prints(
    theme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python tests/pictures.py` draws it again."""
    monkeypatch.chdir(ROOT)
    pictures.write_terminals(tmp_path)
    name = f"terminal-{theme}.svg"

    assert (tmp_path / name).read_text(encoding="utf-8") == (ROOT / "docs/_static" / name).read_text(encoding="utf-8")


def test_pages_link_to_what_exists() -> None:
    """No dead link inside the repository."""
    written = {f"detectors/{cls.rule.id}.md" for cls in (*BUILTIN, *OPTIONAL, *BUILTIN_COMMANDS)}
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(
            r"(?:\]\(|srcset=\"|src=\")(?!https?:)([^)#\"]+)[)\"]", page.read_text(encoding="utf-8")
        ):
            assert target in written or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_rules_names_them_all() -> None:
    """Each with a link to its own page, and no other."""
    page = (ROOT / "docs/detectors.md").read_text(encoding="utf-8")

    assert set(re.findall(r"\(detectors/([a-z-]+)\.md\)", page)) == {
        cls.rule.id for cls in (*BUILTIN, *OPTIONAL, *BUILTIN_COMMANDS)
    }


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
