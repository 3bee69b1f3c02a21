# SPDX-License-Identifier: Apache-2.0
"""The rules token-request and token-request-uri with their exclusions, short, for the peers: Python, SQL, jq, Sigma.

The library looks closer: thirteen more rules, what an exclusion asks besides a name, tokens followed to their uses,
damage reported. The peers answer the two questions that a query about this log usually asks.
"""

from __future__ import annotations

from typing import Any, Final

NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
"""The library's `STANDARD_NAMESPACES`; not imported, as no peer is to pay for that: a test compares them."""

ACCOUNTS: Final = tuple(
    """
    default attachdetach-controller aws-cloud-provider azure-cloud-provider bootstrap-signer certificate-controller
    cloud-controller-manager cloud-provider cloud-provider-nutanix clusterrole-aggregation-controller
    cronjob-controller daemon-set-controller deployment-controller device-taint-eviction-controller
    disruption-controller endpoint-controller endpointslice-controller endpointslicemirroring-controller
    ephemeral-volume-controller expand-controller generic-garbage-collector gke-service-controller
    gke-tenant-controller-manager horizontal-pod-autoscaler job-controller
    kube-apiserver-serving-clustertrustbundle-publisher legacy-service-account-token-cleaner namespace-controller
    node-controller persistent-volume-binder pod-garbage-collector podcertificaterequestcleaner
    pv-protection-controller pvc-protection-controller replicaset-controller replication-controller
    resource-claim-controller resourcequota-controller root-ca-cert-publisher route-controller
    selinux-warning-controller service-account-controller service-ca-cert-publisher service-cidrs-controller
    service-controller statefulset-controller storage-version-garbage-collector storage-version-migrator-controller
    tagging-controller token-cleaner ttl-after-finished-controller ttl-controller
    validatingadmissionpolicy-status-controller volumeattributesclass-protection-controller
    vsphere-cloud-controller-manager vsphere-legacy-cloud-provider vsphere-paravirtual-cloud-controller-manager
    """.split()
)
"""The library's `STANDARD_SERVICE_ACCOUNTS`, written out for the same reason."""


def rules_met(event: dict[str, Any]) -> list[str]:
    """Return which of the two rules an audit event meets, exclusions taken into account."""
    ref = event.get("objectRef")
    if not ref or ref.get("subresource") != "token" or ref.get("resource") != "serviceaccounts":
        return []
    user, agent, namespace, name = event["user"], event.get("userAgent", ""), ref.get("namespace"), ref.get("name")
    if (
        user["username"].startswith("system:node:")
        and agent.startswith("kubelet/")
        and "system:nodes" in user["groups"]
    ):
        return []
    if user["username"] == "system:kube-controller-manager" and namespace == "kube-system":
        return []
    found = []
    if event["verb"] == "create" and 200 <= event.get("responseStatus", {}).get("code", 0) < 300:  # noqa: PLR2004 - 2xx
        found.append("token-request")
    standard = namespace in NAMESPACES and name in ACCOUNTS
    if not standard or event["requestURI"] != f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token":
        found.append("token-request-uri")
    return found


def _texts(names: tuple[str, ...], quote: str) -> str:
    return ", ".join(f"{quote}{name}{quote}" for name in names)


COLUMNS: Final = """{auditID: 'VARCHAR', verb: 'VARCHAR', requestURI: 'VARCHAR', userAgent: 'VARCHAR',
  "user": 'STRUCT(username VARCHAR, "groups" VARCHAR[])',
  objectRef: 'STRUCT(resource VARCHAR, subresource VARCHAR, namespace VARCHAR, name VARCHAR)',
  responseStatus: 'STRUCT(code INTEGER)'}"""
"""All that the rules need: DuckDB reads no other field."""

SQL: Final = f"""
WITH asked AS (
  SELECT auditID, "user".username AS username, objectRef.namespace AS namespace, objectRef.name AS name, requestURI,
    verb = 'create' AND responseStatus.code BETWEEN 200 AND 299 AS minted,
    NOT coalesce(objectRef.namespace IN ({_texts(NAMESPACES, "'")})
                 AND objectRef.name IN ({_texts(ACCOUNTS, "'")}), false)
      OR requestURI <> '/api/v1/namespaces/' || objectRef.namespace || '/serviceaccounts/' || objectRef.name || '/token'
      AS odd
  FROM read_ndjson(getvariable('log'), columns = {COLUMNS})
  WHERE objectRef.resource = 'serviceaccounts' AND objectRef.subresource = 'token'
    AND NOT (starts_with("user".username, 'system:node:') AND starts_with(userAgent, 'kubelet/')
             AND list_contains("user"."groups", 'system:nodes'))
    AND NOT ("user".username = 'system:kube-controller-manager' AND objectRef.namespace = 'kube-system')
)
SELECT 'token-request' AS rule, auditID, username, namespace, name FROM asked WHERE minted
UNION ALL SELECT 'token-request-uri', auditID, username, namespace, name FROM asked WHERE odd
"""  # noqa: S608 - all of it stands above

JQ: Final = f"""
select(.objectRef.resource == "serviceaccounts" and .objectRef.subresource == "token")
| select((.user.username | startswith("system:node:")) and (.userAgent | startswith("kubelet/"))
    and (.user.groups | index("system:nodes")) | not)
| select(.user.username == "system:kube-controller-manager" and .objectRef.namespace == "kube-system" | not)
| .objectRef as {{$namespace, $name}}
| ( (if .verb == "create" and .responseStatus.code >= 200 and .responseStatus.code < 300 then "token-request"
      else empty end),
    (if ([{_texts(NAMESPACES, '"')}] | index([$namespace])) and ([{_texts(ACCOUNTS, '"')}] | index([$name]))
      and .requestURI == "/api/v1/namespaces/\\($namespace)/serviceaccounts/\\($name)/token" then empty
      else "token-request-uri" end) ) as $rule
| {{$rule, auditID, username: .user.username, $namespace, $name}}
"""

UNWRAP_JQ: Final = {
    "native": "",
    "event-hub": ".records[].properties.log | fromjson | ",
    "cloudwatch": ".message | fromjson | ",
}
"""How jq gets at an event; it cannot decompress, which a subscription's message needs."""

SIGMA: Final = r"""
title: token-request
id: 6f2b7d0c-52ab-4ac9-9f58-0f9c0c9f2a11
status: test
logsource: {product: kubernetes, service: audit}
detection:
  token: {objectRef.resource: serviceaccounts, objectRef.subresource: token}
  minted: {verb: create, responseStatus.code: [200, 201]}
  kubelet:
    user.username|startswith: 'system:node:'
    userAgent|startswith: kubelet/
    user.groups|contains: 'system:nodes'
  manager: {user.username: 'system:kube-controller-manager', objectRef.namespace: kube-system}
  condition: token and minted and not kubelet and not manager
level: medium
---
title: token-request-uri
id: 0a1c1a53-52f2-4d5e-8d31-6f0c5f0d7a12
status: test
logsource: {product: kubernetes, service: audit}
detection:
  token: {objectRef.resource: serviceaccounts, objectRef.subresource: token}
  kubelet:
    user.username|startswith: 'system:node:'
    userAgent|startswith: kubelet/
    user.groups|contains: 'system:nodes'
  manager: {user.username: 'system:kube-controller-manager', objectRef.namespace: kube-system}
  standard:
    requestURI|re: '^/api/v1/namespaces/(NAMESPACES)/serviceaccounts/(ACCOUNTS)/token$'
  condition: token and not kubelet and not manager and not standard
level: low
""".replace("NAMESPACES", "|".join(NAMESPACES)).replace("ACCOUNTS", "|".join(ACCOUNTS))
