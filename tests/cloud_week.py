"""Simulates ordinary days of a cluster whose pods use AWS, and attacks on it: audit events and CloudTrail records.

How: a cluster of six nodes in three zones runs accounts of one to three pods each. Kubelets mint a pod's tokens when
it starts and renew them after 80 % of their lifetime: 3,607 s for the API server, 86,400 s for AWS
(https://kubernetes.io/docs/concepts/storage/projected-volumes/). The pod's SDK exchanges the AWS token at the start,
and every 50 to 58 minutes. One pod in five restarts each day, a node is replaced each day and its pods move, and one
account in ten is deployed anew with another version of its SDK. Two thirds of the pods leave through the NAT gateway of
their node's zone, the others through a VPC endpoint; every fifth account uses EKS Pod Identity. A second cluster with
accounts of other names uses the same AWS account. CloudTrail delivers every five minutes, up to fifteen minutes late.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import cloudtrail
from k8stokendetect.testing import token_request

START = datetime(2026, 11, 16, tzinfo=UTC)
OTHER_ISSUER = "oidc.eks.us-west-2.amazonaws.com/id/0000000000000000000F"
NATS = ("198.51.100.10", "198.51.101.10", "198.51.102.10")
CLIENTS = (
    (cloudtrail.BOTO, "botocore-session-{n}"),
    ("aws-sdk-go-v2/1.24.0 os/linux lang/go#1.21.5 md/GOOS#linux api/sts#1.26.5", "{n}"),
    ("aws-sdk-java/2.21.29 Linux/5.10.220 OpenJDK_64-Bit_Server_VM/17.0.9", "aws-sdk-java-{n}"),
    ("aws-sdk-js/3.454.0 ua/2.0 os/linux#5.10.220 lang/js md/nodejs#20.9.0 api/sts#3.454.0", "aws-sdk-js-session-{n}"),
)
"""User agents and names of sessions, as SDKs choose them."""


class Happening(NamedTuple):
    """An audit event or a CloudTrail record, when it can be read, and whether it belongs to an attack."""

    arrives: datetime
    time: datetime
    record: dict[str, Any]
    attack: str = ""


class Pod:
    """A pod of an account."""

    def __init__(self, account: str, number: int, node: int, chance: random.Random) -> None:
        self.account, self.node = account, node
        suffix = "".join(chance.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        self.name = f"{account.partition('/')[2]}-7d9c5b6f4-{suffix}"
        self.uid = str(uuid.UUID(int=chance.getrandbits(128)))
        self.number = number


class Week:
    """Ordinary days, from a seed.

    Arguments:
        accounts: how many.
        days: how many.
        seed: of all chance.

    """

    def __init__(self, accounts: int = 50, days: float = 7, seed: int = 1) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._end = START + timedelta(days=days)
        self._count = accounts
        self.found: list[Happening] = []

    def happenings(self) -> list[Happening]:
        """Return everything in the order in which it can be read."""
        for number in range(self._count):
            self._account(f"team-{number % 7}/app-{number}", number, cloudtrail.ISSUER)
        for number in range(3):  # of the other cluster only the cloud's log is read
            self._account(f"elsewhere/app-{number}", number, OTHER_ISSUER)
        return sorted(self.found, key=lambda item: item.arrives)

    def _account(self, account: str, number: int, issuer: str) -> None:
        chance = self._chance
        client = CLIENTS[number % len(CLIENTS)]
        deployed = START + timedelta(days=chance.uniform(1, 6)) if number % 10 == 0 else self._end
        for slot in range(chance.randint(1, 3)):
            time = START - timedelta(hours=chance.uniform(0, 20))
            while time < self._end:
                node = chance.randrange(6)
                lives = min(chance.expovariate(1 / 5) + 0.05, (6 - node) + chance.random())
                until = min(time + timedelta(days=lives), self._end)
                agent = client[0].replace("/1.34", "/1.35").replace("/2.21", "/2.22") if time > deployed else client[0]
                self._pod(Pod(account, slot, node, chance), time, until, (agent, client[1]), number, issuer)
                time = until + timedelta(seconds=chance.uniform(3, 90))

    def _pod(
        self, pod: Pod, start: datetime, until: datetime, client: tuple[str, str], number: int, issuer: str
    ) -> None:
        by_identity = number % 5 == 4 and issuer == cloudtrail.ISSUER
        for lifetime in (3607, 86400):
            time = start
            while time < until:
                if issuer == cloudtrail.ISSUER:
                    self._mint(pod, time)
                time += timedelta(seconds=0.8 * lifetime + self._chance.uniform(0, 90))
        time = start + timedelta(seconds=self._chance.uniform(1, 20))
        while time < until:
            if by_identity:
                record = cloudtrail.pod_identity(time, pod.account, pod=pod.name, uid=pod.uid)
            else:
                private = number % 3 == 2
                ip = f"10.0.{self._chance.randrange(255)}.{pod.node + 10}" if private else NATS[pod.node % 3]
                session = client[1].format(n=int(time.timestamp() * 1000))
                role = f"arn:aws:iam::{cloudtrail.ACCOUNT}:role/{pod.account.replace('/', '-')}"
                record = cloudtrail.web_identity(
                    time, pod.account, ip=ip, user_agent=client[0], session=session, role=role, issuer=issuer
                )
            self.add_call(time, record)
            time += timedelta(minutes=self._chance.uniform(50, 58))

    def _mint(self, pod: Pod, time: datetime) -> None:
        event = token_request(
            f"system:node:ip-10-0-{pod.node}-7.us-west-2.compute.internal",
            pod.account,
            groups=("system:nodes", "system:authenticated"),
            ip=f"10.0.{pod.node}.7",
            user_agent="kubelet/v1.31.2 (linux/amd64) kubernetes/5864a46",
            time=time,
            level="Metadata",
            annotations={"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        )
        self.add_event(time, event)

    def add_event(self, time: datetime, record: dict[str, Any], attack: str = "") -> None:
        """Add an audit event, which can be read at once."""
        if START <= time < self._end:
            self.found.append(Happening(time + timedelta(seconds=self._chance.uniform(0, 5)), time, record, attack))

    def add_call(self, time: datetime, record: dict[str, Any], attack: str = "") -> None:
        """Add a CloudTrail record, which is delivered with those of its five minutes, late."""
        if START <= time < self._end:
            batch = time + (START - time) % timedelta(minutes=5)
            late = timedelta(minutes=3 + 9 * random.Random(str(batch)).random())  # noqa: S311 - no secret
            self.found.append(Happening(batch + late, time, record, attack))


def attacks(week: Week, times: list[datetime], seed: int = 2) -> Iterator[str]:
    """Add attacks on accounts of the cluster; yield the id of each exchange that has to be joined.

    Each mints a token for an account with pods, or for one without, and exchanges it: from outside with the AWS CLI,
    from outside with an SDK, in another region, through a chain of roles, or for an account that has no pods.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    for number, time in enumerate(times):
        account = f"team-0/unused-{number}" if number % 3 == 0 else f"team-{number % 7}/app-{number % 7}"
        mint = token_request(
            "mallory",
            account,
            time=time,
            ip="203.0.113.9",
            level="Metadata",
            user_agent="kubectl/v1.31.0 (linux/amd64)",
        )
        then = time + timedelta(seconds=chance.uniform(2, 3000))
        ip = f"203.0.{113 + number}.66"
        agent, name = (cloudtrail.CLI, "pwn") if number % 2 == 0 else CLIENTS[number % len(CLIENTS)]
        region = ("us-west-2", "eu-central-1", "us-east-1")[number % 3]
        exchange = cloudtrail.web_identity(
            then, account, ip=ip, user_agent=agent, session=name.format(n=number), region=region
        )
        week.add_event(time, mint, attack=f"mint {number}")
        week.add_call(then, exchange, attack=f"exchange {number}")
        chained = cloudtrail.assume_role(exchange, f"arn:aws:iam::{cloudtrail.ACCOUNT}:role/admin-{number}")
        week.add_call(then + timedelta(seconds=60), chained, attack=f"role {number}")
        read = cloudtrail.call(chained, "secretsmanager", "GetSecretValue", parameters={"secretId": f"db-{number}"})
        week.add_call(then + timedelta(seconds=90), read, attack=f"read {number}")
        yield str(exchange["eventID"])
