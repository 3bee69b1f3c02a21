# SPDX-License-Identifier: Apache-2.0
"""What `k8stokendetect doctor` does: the report on standard output, and the exit status."""

from __future__ import annotations

import json

import click

from k8stokendetect.cli.shared import source_of
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.doctor import diagnose
from k8stokendetect.events import Platform
from k8stokendetect.outputs.diagnosis import to_diagnosis
from k8stokendetect.reading import read


def doctor(*, files: tuple[str, ...], form: str, platform: Platform | None, trust_pods: tuple[str, ...]) -> int:
    """Print what logs hold and return the exit status.

    Raises:
        ConfigError: when an option is wrong.

    """
    report = diagnose(read(list(map(source_of, files)), platform=platform, trust_pods=trust_pods))
    click.echo(json.dumps(report.to_dict(), indent=2) if form == "json" else to_diagnosis(report))
    if not report.events:
        return 2
    default = {cls.rule.id for cls in BUILTIN}
    lacking = (rule.verdict in {"cannot speak", "in part"} for rule in report.rules if rule.rule_id in default)
    return int(any(lacking))
