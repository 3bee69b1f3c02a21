# SPDX-License-Identifier: Apache-2.0
"""What a large cluster costs: load its objects, and answer for every subject and every service account.

python benchmarks/cluster.py [ACCOUNTS BINDINGS]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

RBAC: Final = "rbac.authorization.k8s.io"
VERBS: Final = ("get", "list", "watch", "create", "update", "patch", "delete")
RESOURCES: Final = (
    *(("", name) for name in ("pods", "secrets", "configmaps", "services", "pods/exec", "serviceaccounts")),
    *(("apps", name) for name in ("deployments", "statefulsets", "daemonsets")),
    *(("", "serviceaccounts/token"), ("batch", "jobs"), (RBAC, "roles"), (RBAC, "rolebindings")),
    *(("acme.example.com", f"widgets{number}") for number in range(20)),
)


def _rule(chance: random.Random) -> dict[str, Any]:
    group, resource = chance.choice(RESOURCES)
    rule: dict[str, Any] = {
        "apiGroups": [group],
        "resources": [resource],
        "verbs": chance.sample(VERBS, chance.randint(1, 5)),
    }
    if not chance.randrange(10):
        rule["resourceNames"] = [f"sa-{chance.randrange(25)}"]
    return rule


def _object(kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    version = "v1" if kind in {"ServiceAccount", "Pod"} else f"{RBAC}/v1"
    metadata = {"name": name, "uid": f"{kind}-{namespace}-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": metadata | ({"namespace": namespace} if namespace else {}),
    } | fields


def _subject(chance: random.Random, namespaces: list[str]) -> dict[str, str]:
    kind = chance.choices(("ServiceAccount", "User", "Accounts", "Group"), weights=(12, 4, 1, 3))[0]
    if kind == "ServiceAccount":
        return {"kind": kind, "name": f"sa-{chance.randrange(25)}", "namespace": chance.choice(namespaces)}
    name = {
        "User": f"user-{chance.randrange(2000)}",
        "Accounts": f"system:serviceaccounts:{chance.choice(namespaces)}",
        "Group": f"group-{chance.randrange(300)}",
    }[kind]
    return {"kind": "User" if kind == "User" else "Group", "name": name, "apiGroup": RBAC}


def objects(accounts: int, bindings: int, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yield a cluster of 25 accounts a namespace; every 10th binding is cluster-wide, every 200th for everybody."""
    chance = random.Random(seed)  # noqa: S311 - a cluster, no secret
    namespaces = [f"ns-{number}" for number in range(accounts // 25)]
    for number in range(accounts):
        yield _object("ServiceAccount", f"sa-{number % 25}", namespaces[number // 25])
        spec = {"serviceAccountName": f"sa-{number % 25}", "nodeName": f"node-{number % 100}", "containers": []}
        yield _object("Pod", f"pod-{number}", namespaces[number // 25], spec=spec)
    for number in range(500):
        yield _object("ClusterRole", f"role-{number}", rules=[_rule(chance) for _ in range(chance.randint(1, 12))])
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    yield _object("ClusterRole", "cluster-admin", rules=[everything])
    for namespace in namespaces:
        for number in range(25):
            yield _object("Role", f"local-{number}", namespace, rules=[_rule(chance) for _ in range(3)])
    for number in range(bindings):
        namespace = "" if number % 10 == 0 else chance.choice(namespaces)
        is_local = bool(namespace) and bool(chance.randrange(2))
        name = f"local-{chance.randrange(25)}" if is_local else f"role-{chance.randrange(500)}"
        subjects = [_subject(chance, namespaces) for _ in range(chance.randint(1, 4))]
        if number % 200 == 0:
            subjects.append({"kind": "Group", "name": "system:authenticated", "apiGroup": RBAC})
        elif not (number + 10) % 1000:
            name = "cluster-admin"
        ref = {"kind": "Role" if is_local else "ClusterRole", "name": name, "apiGroup": RBAC}
        kind = "RoleBinding" if namespace else "ClusterRoleBinding"
        yield _object(kind, f"binding-{number}", namespace, roleRef=ref, subjects=subjects)


def _timed(seconds: dict[str, float], name: str, work: Callable[[], T]) -> T:
    """Note the processor's time: the machine is shared, and nothing here waits."""
    start = time.process_time()
    found = work()
    seconds[name] = time.process_time() - start
    return found


def measure(path: str) -> dict[str, Any]:
    """Return seconds, counts and the peak of memory in MB of this very process."""
    import resource  # noqa: PLC0415 - not on Windows

    from k8stokendetect.cluster import Cluster  # noqa: PLC0415 - its import is measured with it

    seconds: dict[str, float] = {}
    cluster = _timed(seconds, "load", lambda: Cluster.load(path))
    of_subjects = _timed(seconds, "ways of every subject", lambda: [len(cluster.ways_of(s)) for s in cluster.subjects])
    of_accounts = _timed(
        seconds,
        "ways of every account, with its groups",
        lambda: [
            len(cluster.ways(f"system:serviceaccount:{a.namespace}:{a.name}", _groups(a))) for a in cluster.accounts
        ],
    )
    worths = _timed(
        seconds, "worth of every account", lambda: [cluster.service_account(a.ref) for a in cluster.accounts]
    )
    minted = _timed(
        seconds,
        "may every account mint for itself",
        lambda: sum(
            cluster.allows(
                f"system:serviceaccount:{a.namespace}:{a.name}",
                _groups(a),
                "create",
                "serviceaccounts/token",
                namespace=a.namespace,
                name=a.name,
            )
            for a in cluster.accounts
        ),
    )
    return {
        "accounts": len(cluster.accounts),
        "roles": len(cluster.roles),
        "bindings": len(cluster.bindings),
        "subjects": len(cluster.subjects),
        "ways of subjects": sum(of_subjects),
        "ways of accounts": sum(of_accounts),
        "cluster-admins": sum(worth is not None and worth.is_cluster_admin for worth in worths),
        "may mint for itself": minted,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "total": round(sum(seconds.values()), 2),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _groups(account: Any) -> tuple[str, ...]:
    return (*account.ref.groups, "system:authenticated")


def main() -> None:
    """Generate a cluster, measure in a process of its own, and print JSON."""
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
        return
    accounts, bindings = map(int, sys.argv[1:3] or ("5000", "20000"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cluster.json")
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects(accounts, bindings)]}))
        command = [sys.executable, __file__, "--measure", str(path)]
        result = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ours
        print(json.dumps({"file MB": round(path.stat().st_size / 1e6, 1)} | json.loads(result.stdout), indent=2))


if __name__ == "__main__":
    main()
