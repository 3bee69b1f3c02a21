# SPDX-License-Identifier: Apache-2.0
"""On Spark the same findings: batches and streams, every wrapper, every detector, killed and restarted."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cloudtrail
from builders import token_request
from cloudtrail import cluster_games
from generate import write
from k8stokendetect import ConfigError, Finding, Tally, detect, spark
from k8stokendetect.cluster import Cluster
from k8stokendetect.detectors import BUILTIN, MintedTokenUsed, TokenRequest
from k8stokendetect.identity import CREDENTIAL_ID, ISSUED_CREDENTIAL_ID
from k8stokendetect.outputs.native import finding_of
from recordings import METADATA, METADATA_1_27, REQUEST_RESPONSE, records
from spark_stream import RULES, Broken, quicken, start
from test_keyed import ManyMints, mint
from test_wrappers import LOG, WRAPPINGS

SHORT = [record for record in LOG if record.get("objectRef", {}).get("subresource") == "token"][::6]
"""Every sixth call to the subresource."""

MISSING = [name for name in ("pyspark", "pandas", "pyarrow") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(shutil.which("java") is None, reason="no Java (Debian: openjdk-17-jre-headless)"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="session")
def session() -> Iterator[Any]:
    """Share one session, whose workers find the modules of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        made = spark.session(cores=2)
    made.sparkContext.setLogLevel("OFF")
    quicken(made)
    yield made
    made.stop()


def said(finding: Finding) -> tuple[Any, ...]:
    """Return what is compared: all but where it was read."""
    return finding.fingerprint, finding.severity, finding.summary, len(finding.evidence), finding.caveats


def found(rows: Iterable[Any]) -> Counter[tuple[Any, ...]]:
    """Count what is in the rows that `spark.detect` gave; none is an error."""
    rows = list(rows)
    assert not [row.error for row in rows if row.error]
    return Counter(said(finding_of(row.line)) for row in rows if row.line)


@functools.cache
def of_recording(path: Path) -> Counter[tuple[Any, ...]]:
    """Count what all detectors find in a recording."""
    return expected(path, detectors=RULES)


def expected(source: Any, **options: Any) -> Counter[tuple[Any, ...]]:
    """Count what `detect` finds."""
    return Counter(said(finding) for finding in detect(source, **options))


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_batch_gives_the_same_findings(session: Any, partitions: int) -> None:
    """Every detector, however the log is cut."""
    log = session.read.text(str(METADATA)).repartition(partitions)
    rows = spark.detect(log, detectors=RULES).collect()

    assert found(rows) == of_recording(METADATA)


def test_clusters_without_token_ids(session: Any) -> None:
    """Service account, time and origin join a use with its mint."""
    log = session.read.text(str(METADATA_1_27)).repartition(3)

    assert found(spark.detect(log).collect()) == expected(METADATA_1_27)


def test_every_wrapper(session: Any) -> None:
    """Each as a part of one table: a row a line, and a file a row."""
    contents = {name: wrap(SHORT) for name, wrap in WRAPPINGS.items()}
    table = [(name, bytearray(content)) for name, content in contents.items()]
    frame = session.createDataFrame(table, "wrapper string, value binary").repartition(2)
    rows = spark.detect(frame, cluster_name="wrapper", origin="wrapper").collect()

    assert not [row.error for row in rows if row.error]
    for name, content in contents.items():
        mine = (
            row
            for row in rows
            if row.line and re.fullmatch(rf"{re.escape(name)}(:(row )?\d+)?([.\[].*)?", row.event.origin)
        )
        assert found(mine) == expected(content), name
    assert len({row.event.origin for row in rows if row.line}) > len(contents)


def test_files_of_several_kinds(session: Any, tmp_path: Path) -> None:
    """Text, gzip, Parquet, JSON that Spark parsed, and a variant; the origin is the file."""
    from pyspark.sql import functions as sf  # noqa: PLC0415 - it may be missing

    text = tmp_path / "text"
    text.mkdir()
    lines = [json.dumps(record).encode() + b"\n" for record in SHORT]
    (text / "a.log").write_bytes(b"".join(lines[: len(lines) // 2]))
    (text / "b.log.gz").write_bytes(gzip.compress(b"".join(lines[len(lines) // 2 :])))
    session.read.text(str(text)).write.parquet(str(tmp_path / "parquet"))
    wanted = expected(SHORT)
    files = session.read.text(str(text))
    tables = {
        "text": files,
        "parquet": session.read.parquet(str(tmp_path / "parquet")),
        "binary": session.read.format("binaryFile").load(str(text)).withColumnRenamed("content", "value"),
        "variant": files.select(sf.parse_json("value").alias("value")),
    }
    for name, table in tables.items():
        rows = spark.detect(table, origin="_metadata.file_name" if name == "text" else None).collect()
        assert found(rows) == wanted, name
        if name == "text":
            assert {row.event.origin for row in rows if row.line} == {"a.log", "b.log.gz"}
    parsed = session.read.json(str(text))
    parsed = parsed.select(sf.struct(*parsed.columns).alias("event"))
    assert found(spark.detect(parsed, "event").collect()) == wanted


def test_what_goes_wrong_is_a_row(session: Any) -> None:
    """A damaged record, a null, a detector that raises: the others' findings are there, and no task fails."""
    text = json.dumps(token_request())
    frame = session.createDataFrame([("a", text), ("b", text[:200]), ("c", None)], "place string, value string")
    frame = frame.repartition(1).sortWithinPartitions("place")
    both = spark.detect(frame, detectors=["token-request", Broken()], origin="place")
    errors = {(row.origin, row.rule_id) for row in spark.errors(both).collect()}

    assert errors == {("a", "acme.broken"), ("b", None), ("c", None)}
    assert [row.rule_id for row in spark.findings(both).collect()] == ["token-request"]


def test_the_columns_are_those_of_the_native_line(session: Any) -> None:
    """By name and value; the time is a time."""
    event = token_request()
    frame = session.createDataFrame([(json.dumps(event),)], "value string")
    (row,) = spark.findings(spark.detect(frame, detectors=["token-request"])).collect()
    line, columns = json.loads(row.line), row.asDict(recursive=True)

    assert set(line) <= set(columns)
    for name in set(line) - {"event", "evidence"}:
        assert columns[name] == line[name], name
    assert columns["event"]["time"].isoformat() + "Z" == event["requestReceivedTimestamp"] or columns["event"]["time"]
    assert [item["path"] for item in columns["evidence"]] == [item["path"] for item in line["evidence"]]


def test_two_clusters_share_nothing(session: Any) -> None:
    """What is remembered of one does not count for the other."""
    mints = {"a": ["10.0.0.1"] * 20 + ["10.9.0.1"], "b": ["10.0.0.1"] * 19 + ["10.8.0.1"]}  # twenty are learned from
    table = [
        (cluster, json.dumps(token_request(auditID=f"{cluster}{n}", requestReceivedTimestamp=time, sourceIPs=[peer])))
        for cluster, peers in mints.items()
        for n, peer in enumerate(peers)
        for time in [f"2026-11-23T12:00:{n:02}.000000Z"]
    ]
    frame = session.createDataFrame(table, "cluster string, value string")
    found = spark.detect(frame, detectors=["unusual-origin"], cluster_name="cluster")
    assert [row.event.cluster for row in spark.findings(found).collect()] == ["a"]


def test_a_stream_that_is_killed_gives_every_finding_once(session: Any, tmp_path: Path) -> None:
    """Every detector; the process dies in the middle of a batch, and another goes on from the checkpoint."""
    logs, checkpoint, output = (tmp_path / name for name in ("logs", "checkpoint", "found"))
    logs.mkdir()
    lines = gzip.decompress(METADATA.read_bytes()).splitlines(keepends=True)
    size = len(lines) // 4 + 1
    for number in range(4):
        (logs / f"{number}.log").write_bytes(b"".join(lines[number * size : (number + 1) * size]))
        os.utime(logs / f"{number}.log", (number, number))
    program = [sys.executable, str(Path(__file__).with_name("spark_stream.py")), *map(str, (logs, checkpoint, output))]
    with subprocess.Popen(program, stderr=subprocess.DEVNULL, start_new_session=True) as process:  # noqa: S603 - our own
        _wait_for((checkpoint / "offsets/2").exists)
        os.killpg(process.pid, signal.SIGKILL)
    done = [path.name for path in (checkpoint / "commits").iterdir() if path.name.isdigit()]
    assert "3" not in done
    earlier = len(_committed(session, output))

    wanted = of_recording(METADATA)
    query = start(session, logs, checkpoint, output)
    try:
        _wait_for(lambda: _count(output) >= wanted.total(), query)
    finally:
        query.stop()
    rows = _committed(session, output)

    assert earlier < len(rows)
    assert found(rows) == wanted


def test_a_job_that_takes_what_is_there_ends_by_itself(session: Any, tmp_path: Path) -> None:
    """The end of the log is delivered, a second run repeats nothing and goes on where the first one ended."""
    logs = tmp_path / "logs"
    logs.mkdir()

    def run() -> Any:
        log = session.readStream.format("text").option("maxFilesPerTrigger", 1).load(str(logs))
        writer = spark.detect(log).writeStream.format("parquet").option("path", str(tmp_path / "found"))
        query = writer.option("checkpointLocation", str(tmp_path / "state")).trigger(availableNow=True).start()
        assert query.awaitTermination(240), "it runs on"
        return session.read.parquet(str(tmp_path / "found"))

    half = len(LOG) // 2
    for number, part in enumerate((LOG[:half], LOG[half:])):
        (logs / f"{number}.log").write_text("".join(f"{json.dumps(record)}\n" for record in part))
        rows = run()
        so_far = expected(LOG[: half + number * len(LOG)])
        assert found(rows.collect()) == so_far
    assert found(run().collect()) == so_far
    assert sum(row.events for row in spark.tallies(rows).collect()) == len(LOG)


def test_everything_that_was_read_is_in_the_tallies(session: Any) -> None:
    """As `detect` counts it."""
    tally = Tally()
    list(detect(METADATA, tally=tally, on_error=lambda _: None))
    rows = spark.tallies(spark.detect(session.read.text(str(METADATA)).repartition(2))).collect()

    assert sum(row.events for row in rows) == tally.events
    assert sum((Counter(row.findings) for row in rows), Counter()) == tally.findings
    assert sum((Counter(row.excluded) for row in rows), Counter()) == tally.excluded
    assert sum(row.duplicates for row in rows) == tally.duplicates


def test_both_logs_in_one_table(session: Any) -> None:
    """A file of CloudTrail in a row, and audit events in others: the same as `detect`, and typed columns."""
    audit, trail = cluster_games()
    table = [(json.dumps({"Records": trail}),), *((json.dumps(event),) for event in audit)]
    rows = spark.detect(session.createDataFrame(table, "value string")).collect()

    assert found(rows) == expected([*audit, *trail])
    (exchange,) = (row for row in rows if row.rule_id == "minted-token-exchanged")
    assert exchange.event.cloud.issued == cloudtrail.issued(trail[0])


def test_a_snapshot_of_the_cluster_says_more(session: Any) -> None:
    """An account with an identity in a cloud is named with it."""
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/payments"}
    metadata: dict[str, object] = {"namespace": "prod", "name": "payments-sa", "annotations": role}
    cluster = Cluster.load({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    frame = session.createDataFrame([(json.dumps(token_request()),)], "value string")
    rows = spark.detect(frame, detectors=["token-request"], cluster=cluster).collect()

    assert found(rows) == expected([token_request()], detectors=["token-request"], cluster=cluster)
    assert found(rows) != expected([token_request()], detectors=["token-request"])


def test_a_detector_that_was_defined_in_a_notebook(session: Any) -> None:
    """It is in no module that a worker could import."""
    cell = """
from k8stokendetect import Detector, Rule, Severity

class Vault(Detector):
    rule = Rule("acme.vault", "A token for Vault", Severity.HIGH)
    watches = frozenset({"serviceaccounts/token"})

    def matches(self, event):
        return True

    def describe(self, event):
        return self.finding(event, "seen")
"""
    notebook: dict[str, Any] = {"__name__": "__main__"}
    exec(cell, notebook)  # noqa: S102 - as a notebook does
    frame = session.createDataFrame([(json.dumps(token_request()),)], "value string")
    rows = spark.findings(spark.detect(frame, detectors=[notebook["Vault"]()])).collect()

    assert [(row.rule_id, row.summary) for row in rows] == [("acme.vault", "seen")]


@pytest.mark.skipif(importlib.util.find_spec("grpc") is None, reason="not installed: pyspark[connect]")
def test_spark_connect() -> None:
    """The client has no Java of its own."""
    program = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("spark_connect.py")), str(METADATA)]
    answer = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603 - our own

    assert answer.stdout.split() == [str(expected(METADATA).total())], answer.stderr[-2000:]


def test_a_detector_of_ones_own(session: Any) -> None:
    """It remembers, unchanged."""
    log = [
        mint(n / 10, user) | {"annotations": {ISSUED_CREDENTIAL_ID[0]: f"JTI={user}-{n}"}}
        for n in range(5)
        for user in ("alice", "bob", "carol")
    ]
    frame = session.createDataFrame([(json.dumps(record),) for record in log], "value string").repartition(3)
    rows = spark.findings(spark.detect(frame, detectors=["token-request", ManyMints()])).collect()
    mine = (finding_of(row.line, rules=[ManyMints.rule]) for row in rows)
    assert Counter(map(said, mine)) == expected(log, detectors=["token-request", ManyMints()])


@pytest.mark.slow
@pytest.mark.parametrize("partitions", [2, 5])
def test_a_generated_log(session: Any, tmp_path: Path, partitions: int) -> None:
    """As a batch and as a stream of several files, whatever the partitioning; some minutes."""
    log, logs = tmp_path / "audit.log", tmp_path / "logs"
    write(log, 32 << 20)
    lines = log.read_bytes().splitlines(keepends=True)
    logs.mkdir()
    size = len(lines) // partitions + 1
    for number in range(partitions):
        (logs / f"{number}.log").write_bytes(b"".join(lines[number * size : (number + 1) * size]))
        os.utime(logs / f"{number}.log", (number, number))
    wanted = expected(log, detectors=RULES)
    batch = spark.detect(session.read.text(str(log)).repartition(partitions), detectors=RULES)
    assert found(batch.collect()) == wanted

    query = start(session, logs, tmp_path / "checkpoint", tmp_path / "found")
    try:
        _wait_for(lambda: _count(tmp_path / "found") >= wanted.total(), query, minutes=10)
    finally:
        query.stop()
    assert found(_committed(session, tmp_path / "found")) == wanted


def _committed(session: Any, output: Path) -> list[Any]:
    """Read the rows that the sink has committed; what a killed task left behind is none of them."""
    if not (output / "_spark_metadata/0").exists():
        return []
    rows: list[Any] = session.read.json(str(output), schema="line string, error string").collect()
    return rows


def _count(output: Path) -> int:
    """Count them without a job: the sink's log names the files."""
    names = set()
    for entry in (output / "_spark_metadata").glob("[0-9]*"):
        names |= {Path(json.loads(line)["path"]).name for line in entry.read_text().splitlines()[1:]}
    return sum((output / name).read_bytes().count(b"\n") for name in names)


def _wait_for(happened: Any, query: Any = None, *, minutes: int = 4) -> None:
    """Wait, so many minutes at most."""
    for _ in range(200 * minutes):
        if happened():
            return
        assert query is None or query.isActive, query.exception()
        time.sleep(0.3)
    raise AssertionError("it did not happen in time")


def test_no_token_goes_between_the_halves() -> None:
    """What is shuffled and kept in checkpoints holds none, though the recorded log does."""
    import pyarrow as pa  # noqa: PLC0415 - it may be missing

    from k8stokendetect.spark.front import Front  # noqa: PLC0415 - they need what may be missing
    from k8stokendetect.spark.plan import Plan  # noqa: PLC0415 - as above

    by_account = next(
        r for r in records(REQUEST_RESPONSE) if r["user"]["username"].startswith("system:serviceaccount:")
    )
    token = next(r["responseObject"]["status"]["token"] for r in records(REQUEST_RESPONSE) if _has_token(r))
    use = {**by_account, "objectRef": {"resource": "pods"}, "verb": "list", "requestURI": "/api/v1/pods"}
    uses = [{**use, "userAgent": agent} for agent in ("app/1", token)]
    for record in uses:
        record["user"] = {**use["user"], "extra": {CREDENTIAL_ID: ["JTI=956ad9c7-399e-46ac-9fd5-de1a3dfe5e03"]}}
        record["requestObject"] = record["responseObject"] = None
    raw = [json.dumps(r, separators=(",", ":")).encode() for r in (*records(REQUEST_RESPONSE), *uses)]
    plan = Plan([TokenRequest(), MintedTokenUsed()], ())
    rows = [row for page in Front(plan).route([pa.RecordBatch.from_pydict({"value": raw})]) for row in page]

    assert token.startswith("eyJ")
    assert Counter(row[3] for row in rows)["use"] >= 1
    assert not [row[3] for row in rows if b"eyJ" in row[4]]


def test_nothing_but_the_saved_state_goes_from_batch_to_batch() -> None:
    """Uses go through unparsed, and the last batch has no rows: what waits is let go."""
    import pyarrow as pa  # noqa: PLC0415 - it may be missing

    from k8stokendetect.spark.front import Front  # noqa: PLC0415 - they need what may be missing
    from k8stokendetect.spark.plan import Plan  # noqa: PLC0415 - as above
    from k8stokendetect.spark.stream import load, save  # noqa: PLC0415 - as above

    plan = Plan([cls() for cls in BUILTIN], ())
    lines = gzip.decompress(METADATA.read_bytes()).splitlines()
    size = len(lines) // 3 + 1
    state = None
    rows: list[tuple[str, str]] = []
    kinds = Counter[str]()
    for number in range(4):
        batch = pa.RecordBatch.from_pydict({"value": pa.array(lines[number * size : (number + 1) * size], pa.binary())})
        routed = sorted(row[1:] for page in Front(plan).route([batch]) for row in page)
        kinds.update(row[2] for row in routed)
        share = load(plan, "", state)
        for row in routed:
            rows += share.take(*row)
        rows += share.rest() if number == 3 else ()
        state = save(share)

    assert kinds["use"] > 100
    lines_found = (line for kind, line in rows if kind == "finding")
    assert Counter(said(finding_of(line)) for line in lines_found) == expected(METADATA, exclusions=())


def _has_token(record: dict[str, Any]) -> bool:
    status = (record.get("responseObject") or {}).get("status")
    return isinstance(status, dict) and str(status.get("token", "")).startswith("eyJ")


@pytest.mark.parametrize(
    "options", [{"platform": "azure"}, {"patience": 60}, {"column": "number"}, {"detectors": ["no-rule"]}]
)
def test_wrong_arguments(session: Any, options: dict[str, Any]) -> None:
    """They are refused at the call."""
    with pytest.raises(ConfigError):
        spark.detect(session.range(1).selectExpr("'' as value", "id as number"), **options)


def test_no_java() -> None:
    """The error says what to install."""
    code = "from k8stokendetect import spark; spark.session()"
    environment = {**os.environ, "JAVA_HOME": "/nowhere"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own

    assert "ConfigError: Spark needs Java 17 or newer" in result.stderr
