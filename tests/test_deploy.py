# SPDX-License-Identifier: Apache-2.0
"""deploy/ and its page: as far as they can be tried without a cluster, a registry or a running systemd."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import trustme
import yaml
from click.testing import CliRunner

from k8stokendetect.audit_policy import AuditPolicy, hints
from k8stokendetect.cli import main
from k8stokendetect.cli.app import serve
from k8stokendetect.serve import Service
from k8stokendetect.sinks import open_all

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kustomize"
PAGE = (ROOT / "docs/how-to/serve.md").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile, each on one line."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def objects() -> list[dict[str, Any]]:
    """Return the objects of the base, as its files have them."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [yaml.safe_load((BASE / name).read_text(encoding="utf-8")) for name in listed]


def flags(arguments: list[str]) -> Iterator[str]:
    """Yield the options in a command line."""
    yield from (argument.partition("=")[0] for argument in arguments if argument.startswith("--"))


KNOWN = {name for option in serve.params for name in option.opts}


def test_the_image_runs_without_rights_and_names_no_registry() -> None:
    """Its base is an argument without a default, its user a number, what it writes a volume."""
    found = instructions()
    by_word = dict(found)

    assert found[0] == ("ARG", "PYTHON")
    assert {rest.split()[0] for word, rest in found if word == "FROM"} == {"${PYTHON}"}
    assert by_word["USER"] == "65532:65532"
    assert found.index(("USER", "65532:65532")) > max(n for n, (word, _) in enumerate(found) if word == "RUN")
    command = yaml.safe_load(by_word["CMD"])
    assert yaml.safe_load(by_word["ENTRYPOINT"]) == ["k8stokendetect"]
    assert command[0] in main.commands
    assert set(flags(command)) <= KNOWN
    assert command[command.index("--state") + 1].startswith(by_word["VOLUME"])
    assert {word for word, _ in found} <= set(
        "ARG FROM WORKDIR COPY RUN ENV USER VOLUME EXPOSE STOPSIGNAL ENTRYPOINT CMD".split()
    )
    for word, rest in found:
        for source in rest.split()[:-1] if word == "COPY" and "--from" not in rest else ():
            assert (ROOT / source).exists()


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_the_objects_are_what_kubernetes_takes(version: str) -> None:
    """By Kubernetes' own schemas, without unknown fields."""
    for document in objects():
        document.setdefault("metadata", {}).setdefault("namespace", "k8stokendetect")
        assert kubernetes_validate.validate(document, version, strict=True)


def test_the_pod_has_no_rights() -> None:
    """As the Pod Security Standard `restricted` asks, and a read-only root besides."""
    (pod,) = (one["spec"]["template"]["spec"] for one in objects() if one["kind"] == "StatefulSet")
    (container,) = pod["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(flags(container["args"])) <= KNOWN
    assert mounted == {volume["name"] for volume in pod["volumes"]} | {"state"}
    assert str(pod["securityContext"]["runAsUser"]) == dict(instructions())["USER"].partition(":")[0]
    assert "/" not in container["image"]


def test_nothing_comes_in_or_goes_out_unasked() -> None:
    """From addresses that are nobody's, until the operator puts theirs there."""
    (policy,) = (one["spec"] for one in objects() if one["kind"] == "NetworkPolicy")

    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    assert all(rule["to"] and rule["ports"] for rule in policy["egress"])


def test_kustomize_builds_the_base() -> None:
    """Names, labels and the reference to the generated ConfigMap fit together."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    done = subprocess.run([kubectl, "kustomize", str(BASE)], capture_output=True, text=True, check=True)  # noqa: S603
    built = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    spec = built["StatefulSet"]["spec"]
    labels = spec["template"]["metadata"]["labels"]

    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert built["Service"]["spec"]["selector"].items() <= labels.items()
    assert built["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    named = [one["configMap"]["name"] for one in spec["template"]["spec"]["volumes"] if "configMap" in one]
    (names,) = (rule["to"][0]["podSelector"]["matchLabels"] for rule in built["NetworkPolicy"]["spec"]["egress"])
    assert names == {"k8s-app": "kube-dns"}
    assert named == [built["ConfigMap"]["metadata"]["name"]]


def test_the_api_servers_configuration_is_a_kubeconfig_and_a_policy_that_works() -> None:
    """It posts where the receiver listens, with a certificate of the name that the receiver asks for."""
    config = yaml.safe_load((DEPLOY / "kube-apiserver/audit-webhook.yaml").read_text(encoding="utf-8"))
    policy = AuditPolicy.load((DEPLOY / "kube-apiserver/audit-policy.yaml").read_bytes())
    shown = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs/how-to/audit-policy.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )[-1]
    (user,), (cluster,) = config["users"], config["clusters"]

    assert (config["apiVersion"], config["kind"], config["current-context"]) == (
        "v1",
        "Config",
        config["contexts"][0]["name"],
    )
    assert config["contexts"][0]["context"] == {"cluster": cluster["name"], "user": user["name"]}
    assert cluster["cluster"]["server"].endswith(":8443/audit")
    assert f"--client-name={user['name']}" in (BASE / "stateful-set.yaml").read_text(encoding="utf-8")
    assert hints(policy) == ()
    assert (DEPLOY / "kube-apiserver/audit-policy.yaml").read_text(encoding="utf-8").endswith(shown)


def test_the_unit_is_one_that_systemd_takes_and_finds_hardened(tmp_path: Path) -> None:
    """But for the program, which is not installed here."""
    text = (DEPLOY / "systemd/k8stokendetect.service").read_text(encoding="utf-8")
    (started,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", text, re.MULTILINE)

    assert set(flags(shlex.split(started.replace("\\\n", " ")))) <= KNOWN
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "k8stokendetect.service"
    unit.write_text(text.replace("/opt/k8stokendetect/bin/k8stokendetect", "/bin/true"), encoding="utf-8")
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)  # noqa: S603
    assert [line for line in verified.stderr.splitlines() if unit.name in line] == []
    rated = subprocess.run(  # noqa: S603 - as above
        [analyze, "security", "--offline=true", str(unit)], capture_output=True, text=True, check=False
    )
    (level,) = re.findall(r"exposure level for \S+: (\d+\.\d)", rated.stdout)
    assert float(level) < 2


@pytest.mark.parametrize(
    "path", [*sorted(DEPLOY.rglob("*.*")), ROOT / "docs/how-to/serve.md"], ids=lambda path: path.name
)
def test_no_registry_is_named(path: Path) -> None:
    """Whom to trust for a base image is the operator's choice."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    assert not re.search(r"docker\.io|quay\.io|ghcr\.io|gcr\.io|registry\.|pypi\.", text)


@pytest.mark.parametrize("line", re.findall(r"^k8stokendetect serve .*$", PAGE, re.MULTILINE))
def test_the_commands_of_the_page_start(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the files that they name."""
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.crt")
    server = authority.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path("tls.key")
    server.cert_chain_pems[0].write_to_path("tls.crt")
    Path("tokens").write_text("a-token-of-nobody-0123456789\n", encoding="utf-8")
    Path("sinks.toml").write_text((BASE / "sinks.toml").read_text(encoding="utf-8"), encoding="utf-8")
    started: list[Service] = []

    def run(self: Service, _: object) -> int:
        started.append(self)
        return 0

    monkeypatch.setattr(Service, "run", run)
    result = CliRunner().invoke(main, shlex.split(line)[1:])

    assert (result.exit_code, result.output, len(started)) == (0, "", 1)


@pytest.mark.parametrize("text", re.findall(r"^```toml\n(\[\[sink\]\].*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_the_sinks_of_the_page_open(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its secret where it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLACK_URL", "https://hooks.example/T0")
    Path("kafka-password").write_text("not-a-secret", encoding="utf-8")
    Path("sinks.toml").write_text(text, encoding="utf-8")
    sinks = open_all(["sinks.toml"])

    assert [one.name for one in sinks.deliveries] == ["file", "slack", "kafka"]
    sinks.close()
