# SPDX-License-Identifier: Apache-2.0
"""What a cluster logs while it is set up and while operators work: a third is about access, and much of that is writes.

Who does what to RBAC objects, secrets and service accounts, and with which answer, is drawn from what the two
recordings of `tests/data` hold at level Metadata; everything else is as in `mix.py`.
"""

from __future__ import annotations

from typing import Any, Final

from mix import ACCOUNTS, CREDENTIAL, KUBECTL, Generator

ABOUT_ACCESS: Final = 1 / 3
"""Which part of all but the token requests."""

RBAC: Final = "rbac.authorization.k8s.io"
MINTERS_ROLE: Final = 0.05
"""Which part of the roles written by people and operators lets somebody mint tokens."""

RECORDED: Final = tuple(
    (int(weight), caller, verb, resource, int(code))
    for weight, caller, verb, resource, code in map(
        str.split,
        """
        262 person list secrets 403
        182 person list serviceaccounts 200
        147 apiserver get clusterroles 404
        135 apiserver create clusterroles 201
        124 operator list secrets 403
        99 apiserver get clusterrolebindings 404
        97 apiserver create clusterrolebindings 201
        67 manager get serviceaccounts 404
        67 manager create serviceaccounts 201
        64 manager get serviceaccounts 200
        64 person list secrets 200
        36 admin create serviceaccounts 201
        26 admin create roles 201
        26 admin create rolebindings 201
        24 controller create serviceaccounts 201
        14 admin create clusterroles 201
        14 admin create clusterrolebindings 201
        14 apiserver create roles 201
        14 apiserver create rolebindings 201
        14 apiserver get roles 404
        14 apiserver get rolebindings 404
        14 controller patch clusterroles 200
        10 operator list secrets 200
        4 controller list clusterroles 200
        4 controller list secrets 200
        4 operator watch secrets 200
        4 person create serviceaccounts 201
        3 apiserver list clusterrolebindings 200
        3 apiserver list clusterroles 200
        2 admin create serviceaccounts 404
        2 admin delete serviceaccounts 200
        2 admin update clusterroles 200
        2 apiserver get serviceaccounts 404
        2 apiserver patch secrets 200
        2 apiserver watch clusterrolebindings 200
        2 apiserver watch clusterroles 200
        2 apiserver watch rolebindings 200
        2 apiserver watch roles 200
        2 apiserver watch secrets 200
        2 apiserver watch serviceaccounts 200
        2 controller deletecollection rolebindings 200
        2 controller deletecollection roles 200
        2 controller deletecollection secrets 200
        2 controller deletecollection serviceaccounts 200
        2 manager get secrets 200
        2 manager update secrets 200
        2 manager watch clusterrolebindings 200
        2 manager watch clusterroles 200
        2 manager watch rolebindings 200
        2 manager watch roles 200
        2 manager watch secrets 200
        2 manager watch serviceaccounts 200
        2 person create secrets 201
        2 person create serviceaccounts 403
        2 person get secrets 200
        2 person get serviceaccounts 200
        2 person patch serviceaccounts 200
        """.strip().splitlines(),
    )
)
"""How often, caller, verb, resource, status code; what was recorded once or was an attack's own probe is left out."""

WEIGHTS: Final = tuple(row[0] for row in RECORDED)
MANAGER: Final = "kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/98b3519"
AGENTS: Final = {
    "admin": KUBECTL,
    "apiserver": "kube-apiserver/v1.36.2 (linux/amd64) kubernetes/98b3519",
    "controller": f"{MANAGER}/system:serviceaccount:kube-system:clusterrole-aggregation-controller",
    "manager": f"{MANAGER}/kube-controller-manager",
    "operator": "Go-http-client/2.0",
    "person": "Lens/6.5",
}


class SetUpGenerator(Generator):
    """Makes the events of a cluster that is set up and full of operators."""

    def other(self) -> dict[str, Any]:
        """Return the next event that is not a token request."""
        return self._access() if self.chance.random() < ABOUT_ACCESS else super().other()

    def _access(self) -> dict[str, Any]:
        _, caller, verb, resource, code = self.chance.choices(RECORDED, WEIGHTS)[0]
        number = self.chance.randrange(ACCOUNTS)
        ref: dict[str, Any] = {"resource": resource, "apiVersion": "v1"}
        is_rbac, is_one = resource not in {"secrets", "serviceaccounts"}, verb in {"get", "create", "update", "patch"}
        uri = f"/apis/{RBAC}/v1" if is_rbac else "/api/v1"
        if is_rbac:
            ref["apiGroup"] = RBAC
        if not resource.startswith("cluster"):
            ref["namespace"] = f"team-{number % 40}"
            uri += f"/namespaces/{ref['namespace']}"
        uri += f"/{resource}"
        if is_one or verb == "delete":
            ref["name"] = f"app-{number}"
            uri += "?fieldManager=kubectl-create" if verb == "create" else f"/{ref['name']}"
        elif verb != "deletecollection":
            uri += "?limit=500" if verb == "list" else "?allowWatch=true&timeoutSeconds=412&watch=true"
        event = self.request(verb, uri, self._caller(caller, number), AGENTS[caller], ref, code)
        if code == 403:  # noqa: PLR2004
            event["annotations"] = {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}
        if resource == "secrets":
            event["level"] = "Metadata"  # as audit policies write them
        elif event["level"] != "Metadata" and is_one and verb != "get":
            event["requestObject"] = self._body(resource, ref)
            if event["level"] == "RequestResponse":
                event["responseObject"] = event["requestObject"]
        return event

    def _caller(self, caller: str, number: int) -> dict[str, Any]:
        if caller == "operator":
            return self.account(number)
        if caller == "controller":
            name = "kube-system:clusterrole-aggregation-controller"
            groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]
            return {"username": f"system:serviceaccount:{name}", "uid": "9a1b", "groups": groups}
        name, group = {
            "admin": ("kubernetes-admin", "system:masters"),
            "apiserver": ("system:apiserver", "system:masters"),
            "manager": ("system:kube-controller-manager", ""),
            "person": (f"user-{number}@example.com", "devs"),
        }[caller]
        extra = {CREDENTIAL: ["X509SHA256=" + "3b7c1f22a9d4e805" * 4]} if caller == "admin" else {}
        return {"username": name, "groups": [*filter(None, [group]), "system:authenticated"], "extra": extra}

    def _body(self, resource: str, ref: dict[str, Any]) -> dict[str, Any]:
        """Return a role, a binding or a service account, as it is written."""
        place = {key: ref[key] for key in ("name", "namespace") if key in ref}
        if resource == "serviceaccounts":
            return {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": place}
        kind = {"roles": "Role", "clusterroles": "ClusterRole"}.get(resource)
        if kind is not None:
            mints = self.chance.random() < MINTERS_ROLE
            rules = [
                {"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["serviceaccounts/token" if mints else "events"], "verbs": ["create"]},
            ]
            return {"kind": kind, "apiVersion": f"{RBAC}/v1", "metadata": place, "rules": rules}
        kind, role = ("RoleBinding", "Role") if resource == "rolebindings" else ("ClusterRoleBinding", "ClusterRole")
        return {
            "kind": kind,
            "apiVersion": f"{RBAC}/v1",
            "metadata": place,
            "roleRef": {"apiGroup": RBAC, "kind": role, "name": ref["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": ref["name"], "namespace": ref.get("namespace", "team-1")}],
        }
