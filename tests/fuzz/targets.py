# SPDX-License-Identifier: Apache-2.0
"""What must hold for any bytes, for each thing that reads: `TARGETS`. A broken promise is an AssertionError.

Only the documented errors may come out, nothing read stays uncounted, no live token gets through, and what was read can
be written and read again. `run.py` tries them with atheris, tests/test_fuzz.py on the corpus and on damaged copies.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

import attrs

from k8stokendetect import ConfigError, Event, Finding, ReadError, Tally, detect, load_exclusions, read
from k8stokendetect.audit_policy import AuditPolicy, hints, review
from k8stokendetect.clouds import CloudEvent
from k8stokendetect.cluster import Cluster, who_can_mint
from k8stokendetect.commands import detect_commands, read_auditd
from k8stokendetect.engine.memory import Memory
from k8stokendetect.outputs.ecs import to_ecs_line
from k8stokendetect.outputs.native import finding_of, to_line
from k8stokendetect.outputs.ocsf import to_ocsf_line
from k8stokendetect.outputs.text import to_text

BLANK: Final = (b"", b"[]", b"\xef\xbb\xbf")
"""What rightly gives nothing: no record at all."""

MAX_SKIPPED: Final = 1000
"""Maximum length of what is read in pieces, too: each piece costs a call."""


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


LIVE_TOKEN: Final = ".".join(
    (_part({"alg": "RS256", "kid": "fuzz"}), _part({"sub": "system:serviceaccount:fuzz:fuzz"}), "c2lnbmF0dXJl" * 8)
)
"""Has the form of a token; whatever is made of content that holds it must not."""


def require(holds: object, promise: str, /) -> None:
    """Raise an AssertionError that says which promise was broken; `python -O` must not drop it."""
    if not holds:
        raise AssertionError(promise)


class Pieces:
    """A stream of which each read gives a few bytes at most."""

    def __init__(self, content: bytes, most: int) -> None:
        self._left = content
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        most = self._most if size < 0 else min(size, self._most)
        part, self._left = self._left[:most], self._left[most:]
        return part


def check(content: bytes) -> Tally:
    """Read anything and look for everything: nothing is silently dropped, every finding can be written.

    Raises:
        AssertionError: when a promise is broken; also when content that is not blank gave neither event nor error nor a
            record that was skipped.

    """
    errors: list[Any] = []
    tally = Tally()
    findings = list(detect(content, on_error=errors.append, tally=tally, keep_excluded=True))
    _written(findings)
    _without_token(errors)
    require(not tally.failures, f"a detector failed: {errors}")
    require(all(isinstance(error, ReadError) for error in errors), f"another error: {errors}")
    require(len(errors) == tally.unreadable, "an error was not counted")
    counted = tally.events or tally.unreadable or tally.skipped or tally.unproven or _holds_calls(content)
    require(counted or content.strip(b" \t\r\n\0") in BLANK, "something was read and nothing was said")
    return tally


def _holds_calls(content: bytes) -> bool:
    """Tell whether records of a cloud's log are in it."""
    return any(isinstance(item, CloudEvent) for item in read(content).stream())


def check_read(content: bytes) -> None:
    """Read whole and in pieces: the same comes out, the prefilter changes no count, no native line is lost."""
    tally = check(content)
    log = read(content)
    items = list(log.stream())
    events = sum(isinstance(item, Event) for item in items)
    _without_token(items)
    clouds = sum(isinstance(item, CloudEvent) for item in items)
    require(clouds == log.cloud_records, "a record of a cloud's log was not counted")
    found = (len(items) - clouds, log.skipped, log.unproven)
    counted = (tally.events + tally.unreadable, tally.skipped, tally.unproven)
    require(found == counted, f"read counts {found}, detect {counted}: events and errors, skipped, unproven")
    require(tally.events >= events, "detect reports what read reads")  # not the reverse: docs/limits.md
    lines = [line for line in content.split(b"\n") if line.strip()]
    if all(map(_is_native, lines)):
        require(len(items) == len(lines), "a native line was lost or counted twice")
    pieces = 1 + len(content) % 7 if len(content) <= MAX_SKIPPED else 1 + len(content) // 3
    again = list(read(Pieces(content, pieces)).stream())
    require(_shown(again) == _shown(items), "read in pieces, something else comes out")


def _is_native(line: bytes) -> bool:
    """Tell whether a line is one whole JSON object of an event's form and nothing else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return (
        line.startswith(b'{"kind":"Event"') and isinstance(record, dict) and record.keys() >= {"auditID", "requestURI"}
    )


def _shown(items: Iterable[object]) -> list[object]:
    """Return what can be compared: where it came from is called by another name."""
    return [
        (item.reason, item.path, item.revealed) if isinstance(item, ReadError) else _placeless(item) for item in items
    ]


def _placeless(item: Any) -> str:
    text = repr(attrs.asdict(item)) if attrs.has(type(item)) else repr(item)  # a repr leaves parts out
    return text.replace("<bytes>", "").replace("<stream>", "")


def _written(findings: Iterable[Finding]) -> None:
    """Write findings in every form, and read our own back."""
    for finding in findings:
        line = to_line(finding)
        texts = (line, to_text(finding), to_ecs_line(finding), to_ocsf_line(finding), repr(finding))
        require(not any(LIVE_TOKEN in text for text in texts), "a finding holds a live token")
        if '"left_out"' not in line:  # cut to 64 KiB
            require(to_line(finding_of(line, rules=(finding.rule,))) == line, "a finding is not what was written")


def _without_token(items: Iterable[object]) -> None:
    for item in items:
        text = f"{item!s} {item.revealed}" if isinstance(item, ReadError) else _placeless(item)
        require(LIVE_TOKEN not in text, "a live token got through")


def check_cluster(content: bytes) -> None:
    """Load a cluster's objects: ReadErrors only, and what was loaded can be asked who can mint."""
    errors: list[Any] = []
    cluster = Cluster.load(content, on_error=errors.append)
    require(all(isinstance(error, ReadError) for error in errors), f"another error: {errors}")
    _without_token(errors)
    loaded = (cluster.accounts, cluster.roles, cluster.bindings, cluster.pods, cluster.pod_identities)
    require(errors or any(loaded) or _lists_nothing(content), "something was read and nothing was said")
    for minter in who_can_mint(cluster):
        repr(minter)


def _lists_nothing(content: bytes) -> bool:
    """Tell whether it is a list without objects."""
    return b"items" in content or b"association" in content


def check_exclusions(content: bytes) -> None:
    """Load exclusions: ConfigErrors only."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(content)
        file.flush()
        try:
            loaded = load_exclusions(file.name)
        except ConfigError as error:
            require(LIVE_TOKEN not in str(error), "an error holds a live token")
        else:
            ids = [exclusion.id for exclusion in loaded]
            require(len(ids) == len(set(ids)), "two exclusions have one id")


def check_policy(content: bytes) -> None:
    """Load an audit policy: ConfigErrors only, and what was loaded can be reviewed."""
    try:
        policy = AuditPolicy.load(content)
    except ConfigError:
        return
    require(policy.rules, "a policy without rules was loaded")
    for found in review(policy):
        require((found.verdict == "works") == (not found.why), f"{found.rule_id}: {found.verdict} without a reason")
        for change in found.changes:
            change.to_yaml()
    list(hints(policy))


def check_auditd(content: bytes) -> None:
    """Read a host's log: ReadErrors only, each counted, and the same in pieces."""
    errors: list[Any] = []
    tally = Tally()
    findings = list(detect_commands(content, on_error=errors.append, tally=tally))
    _written(findings)
    _without_token(errors)
    require(not tally.failures, f"a detector failed: {errors}")
    require(all(isinstance(error, ReadError) for error in errors), f"another error: {errors}")
    require(len(errors) == tally.unreadable, "an error was not counted")
    counted = tally.events or tally.unreadable or tally.skipped
    require(counted or not content.strip(b" \t\r\n\0"), "something was read and nothing was said")
    whole = list(read_auditd(content, on_error=_ignored))
    _without_token(whole)
    pieces = list(read_auditd(Pieces(content, 1 + len(content) // 3), on_error=_ignored))
    require(list(map(_placeless, pieces)) == list(map(_placeless, whole)), "in pieces, something else comes out")


def _ignored(error: object, /) -> None:
    """Take an error that was counted before."""


def check_state(content: bytes) -> None:
    """Restore a saved memory: ConfigErrors only; what was restored can be used, saved and restored again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.json")
        path.write_bytes(content)
        errors: list[Any] = []
        tally = Tally()
        try:
            memory = Memory.load(path)
            findings = list(detect(_EVENTS, memory=memory, on_error=errors.append, tally=tally))
        except ConfigError:
            return
        require(not errors, f"an event could not be judged: {errors}")
        _written(findings)
        memory.save(path)
        again = Memory.load(path)
        list(detect((), memory=again))
        require(again.to_dict().keys() == memory.to_dict().keys(), "what was saved is not what is restored")


def check_finding(content: bytes) -> None:
    """Read a finding back: ReadErrors only, and what was read can be written in every form."""
    try:
        finding = finding_of(content)
    except ReadError as error:
        _without_token([error])
    else:
        line = to_line(finding)
        if '"left_out"' not in line:
            require(to_line(finding_of(line)) == line, "a finding is not what was written")
        for text in (to_text(finding), to_ecs_line(finding), to_ocsf_line(finding)):
            require(text, "an empty finding")


_EVENTS: Final = [
    json.loads(line) for line in (Path(__file__).parents[2] / "examples" / "attack.log").read_bytes().splitlines()[:12]
]

TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "read": check_read,
    "cluster": check_cluster,
    "exclusions": check_exclusions,
    "policy": check_policy,
    "auditd": check_auditd,
    "state": check_state,
    "finding": check_finding,
}
"""By the name that `run.py` takes."""
