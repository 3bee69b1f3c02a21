# SPDX-License-Identifier: Apache-2.0
"""The options that `k8stokendetect who-can-mint` has of its own, and the terms that it explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from k8stokendetect.cli.grouping import FIND, LEAVE_OUT, OTHER, READ, SHOW, option

TERMS: Final = """\b
FILES are what this prints:
  kubectl get -A -o json serviceaccounts,roles,rolebindings,clusterroles,\\
    clusterrolebindings,pods

\b
Terms:
  mint       create a token of a service account (TokenRequest)
  directly   with the right to create serviceaccounts/token, as a member of
             system:masters, or as the kubelet of a node that runs its pods
  indirectly in another way to a token; the kinds, as --fail-on takes them:
             impersonate-service-account, -user, -group, -node  act as it
             create-pod, write-workload    have a pod run as the account
             run-in-pod, nodes-proxy       run code in one of its pods
             read-token-secret, create-token-secret  tokens in Secrets
             escalate, bind                get other rights first
             certificate, node-certificate become a user or a node
             mutating-webhook              change pods as they are created

\b
The first word of an entry is the most valuable account that is reached:
  CLUSTER-ADMIN  may do everything
  ESCALATION     may escalate, bind, impersonate, approve client certificates
                 or write webhooks in the whole cluster
  CLOUD          has an identity in AWS, Azure or Google Cloud
  ACCOUNT        any other account; NOTHING: none is there now

\b
by design    an exclusion, as for scan, says that this component mints
more than    … but it may mint for others, too
built in     what Kubernetes installs, unchanged, and what kubeadm does with
             --platform kubernetes; --all shows it
"""

_OPTIONS: Final = (
    option(
        "--context",
        group=READ,
        metavar="NAME",
        help="Read the cluster of this context of your kubeconfig, instead of files; needs the extra `live`.",
    ),
    option(
        "--kubeconfig", group=READ, metavar="FILE", help="With --context: a file other than the one kubectl would use."
    ),
    option(
        "--namespace", group=LEAVE_OUT, metavar="NAME", help="Only who can obtain tokens of accounts in this namespace."
    ),
    option("--all", "with_defaults", group=LEAVE_OUT, is_flag=True, help="Also show what Kubernetes itself installs."),
    option(
        "--diff",
        "previous",
        group=FIND,
        metavar="OLD",
        help="Show what changed since then: what an earlier run printed with --format json, or objects as FILES.",
    ),
    option(
        "--fail-on",
        group=OTHER,
        multiple=True,
        metavar="LEVEL|KIND|LEVEL/KIND",
        help="Exit with 1 if somebody unexpectedly reaches this level (account, cloud, escalation, cluster-admin) or a "
        "higher one, or does so in this way (a kind below, `direct`, `indirect`); may be repeated.",
    ),
    option("--graph", group=SHOW, metavar="FILE.svg", help="Also draw who can obtain whose tokens through which role."),
)


def mint_options(command: Callable[..., Any], /) -> Callable[..., Any]:
    """Add them to a command."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command
