# SPDX-License-Identifier: Apache-2.0
"""The shape of the package: layers, exports, size, one place for the version."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import k8stokendetect

PACKAGE = Path(k8stokendetect.__file__).parent
ROOT = Path(__file__).parents[1]
LAYERS = [  # a file imports only from those before it
    ["errors"],
    ["identity"],
    ["events"],
    ["findings"],
    ["_bytes"],
    ["_redaction"],
    ["_times"],
    ["_revealed"],
    ["_gzip"],
    ["_limits"],
    ["_hooks"],
    ["_structure"],
    ["envelopes.base"],
    ["envelopes.lines"],
    ["envelopes.native", "envelopes.azure", "envelopes.cloudwatch", "envelopes.elastic", "envelopes.shippers"],
    ["envelopes.gcp", "envelopes.ocsf"],
    ["envelopes"],
    ["_scanner"],
    ["_records"],
    ["_interest"],
    ["_search"],
    ["_ahead"],
    ["_sieve"],
    ["_streams"],
    ["_sources"],
    ["_aside"],
    ["_merge"],
    ["_reading"],
    ["reading"],
    ["_follow"],
    ["_auditd"],
    ["_auditd_lines"],
    ["exec_events"],
    ["exclusions.base"],
    ["exclusions.verdict", "exclusions._named"],
    ["exclusions.kubernetes"],
    ["exclusions.eks", "exclusions.aks", "exclusions.gke", "exclusions.openshift", "exclusions.addons"],
    ["exclusions.catalogue"],
    ["exclusions.load"],
    ["exclusions"],
    ["cluster._rbac", "cluster._objects", "cluster._yaml"],
    ["cluster._without_token", "cluster._steps"],
    ["cluster._changes"],
    ["cluster._aggregation", "cluster._grants", "cluster._ways", "cluster._structure", "cluster._read"],
    ["cluster._cloud_identity", "cluster._by_design"],
    ["cluster._load", "cluster._powers"],
    ["cluster._way_finder", "cluster._worth"],
    ["cluster._reach"],
    ["cluster._minters"],
    ["cluster"],
    ["detectors.base"],
    ["detectors._token_commands", "detectors.exec_detector"],
    ["detectors._wording"],
    ["detectors._command_wording"],
    ["detectors.keyed"],
    ["detectors._by_design"],
    ["detectors._acts", "detectors._audiences", "detectors._legacy_secrets", "detectors._powerful"],
    ["detectors._takeover"],
    ["detectors._following", "detectors._token_right"],
    ["detectors._without_ids"],
    [
        "detectors.forged_token",
        "detectors.legacy_token_secret",
        "detectors.minted_token_used",
        "detectors.pod_token_moved",
        "detectors.token_in_audit_log",
        "detectors.token_request",
        "detectors.token_request_cloud_audience",
        "detectors.token_request_command",
        "detectors.token_request_denied",
        "detectors.token_request_impersonated",
        "detectors.token_request_long_lived",
        "detectors.token_request_lookalike",
        "detectors.token_request_privileged_target",
        "detectors.token_request_unbound",
        "detectors.token_request_uri",
        "detectors.token_right_granted",
        "detectors.unreadable_token_request",
        "detectors.unusual_origin",
    ],
    ["detectors"],
    ["sigma._yaml", "sigma._terms"],
    ["sigma._filters", "sigma._form"],
    ["sigma._forms", "sigma._joins", "sigma._lookalike"],
    ["sigma"],
    ["audit_policy._policy"],
    ["audit_policy._yaml"],
    ["audit_policy._callers", "audit_policy._needs"],
    ["audit_policy._hints", "audit_policy._changes"],
    ["audit_policy"],
    ["_story", "_cloud_trace"],
    ["_advice", "enrichment"],
    ["_mints"],
    ["_access"],
    ["incidents", "review"],
    ["outputs"],
    ["outputs.native", "outputs.text", "outputs._style", "outputs._folding", "outputs._values", "outputs._attack"],
    ["outputs.ecs", "outputs.ocsf", "outputs.review", "outputs.incident", "outputs.tree", "outputs._figures"],
    ["outputs.report", "outputs.minters"],
    ["outputs.mint_graph"],
    ["plugins"],
    ["_tally"],
    ["commands"],
    ["_order", "_repeated"],
    ["_stages"],
    ["_engine"],
    ["spark._rows", "spark._plan", "spark._predicate", "spark._schema"],
    ["spark._raw"],
    ["spark._front"],
    ["spark._back"],
    ["spark._stream"],
    ["spark"],
    ["testing._lessons", "testing._paths", "testing._drawing", "testing.builders"],
    ["testing.logs", "testing.strategies", "testing._events"],
    ["testing._bench"],
    ["testing._keyed_laws", "testing._wrapped"],
    ["testing._laws"],
    ["testing.detector_suite", "testing.envelope_suite"],
    ["testing"],
    [""],
    ["_listing", "_memory", "_printer", "_progress"],
    ["_commands"],
    ["_commands.shared"],
    ["_commands.audit_policy", "_commands.scan_host", "_commands.sigma", "_commands.who_can_mint"],
    ["_chosen"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "k8stokendetect":
            base = (node.module or "").partition(".")[2]
            names = [f"{base}.{alias.name}".strip(".") for alias in node.names]
            found |= {name if name in FILES else base for name in names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.partition(".")[2] for alias in node.names if alias.name.split(".")[0] == "k8stokendetect"
            }
    return found


def test_every_file_has_its_layer() -> None:
    """A new file says where it belongs."""
    assert set(RANK) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_layers_before_it(name: str) -> None:
    """One direction, no way back."""
    for other in imported(FILES[name]):
        assert RANK[other] < RANK[name], f"{name} imports {other}"


@pytest.mark.parametrize("name", FILES)
def test_a_file_does_one_job_that_its_first_line_states(name: str) -> None:
    """Under 300 lines, a detector under 130 with its rule's prose, and a licence line."""
    lines = FILES[name].read_text(encoding="utf-8").splitlines()
    docstring = ast.get_docstring(ast.parse("\n".join(lines)))

    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "`detect`", "`scan | rules | exclusions`"))
    assert len(lines) <= 300


def modules() -> list[ModuleType]:
    """Import every module of the package but the entry point."""
    names = [info.name for info in pkgutil.walk_packages([str(PACKAGE)], "k8stokendetect.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def test_the_public_names_are_complete_and_sorted() -> None:
    """At most 25 of them; everything imported into the package is exported, and nothing else."""
    names = k8stokendetect.__all__
    tree = ast.parse(FILES[""].read_text(encoding="utf-8"))
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    imports = [alias.name for node in nodes if node.module not in {"__future__", "typing"} for alias in node.names]

    assert sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name)) == names
    assert set(names) == set(imports)
    assert len(names) <= 25


def test_no_public_module_is_called_like_a_public_name() -> None:
    """`detect` is a function; a module of that name would shadow it."""
    assert not {module.__name__.rpartition(".")[2] for module in modules()} & set(k8stokendetect.__all__)


def test_every_export_exists() -> None:
    """In every module that has a list of them."""
    for module in modules():
        assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))


def test_the_version_stands_in_one_place() -> None:
    """In pyproject.toml, and so in the installed package; the changelog knows it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["version"] == version("k8stokendetect")
    assert not [path for path in FILES.values() if project["version"] in path.read_text(encoding="utf-8")]
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_library_needs_no_extra() -> None:
    """Importing it imports neither click nor rich nor dateutil."""
    code = "import sys, k8stokendetect; print(sorted({'click', 'rich', 'dateutil', 'hypothesis'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code

    assert result.stdout == "[]\n"
