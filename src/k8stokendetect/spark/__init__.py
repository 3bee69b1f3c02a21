# SPDX-License-Identifier: Apache-2.0
"""The same detectors, exclusions and findings on Apache Spark, for batches and streams."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.keyed import ALLOWED_LATENESS
from k8stokendetect.engine.selection import choose_detectors, choose_exclusions
from k8stokendetect.errors import ConfigError, check
from k8stokendetect.events import Platform, check_platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion
from k8stokendetect.spark.back import in_order
from k8stokendetect.spark.front import Front, minted
from k8stokendetect.spark.plan import INDEPENDENT, Plan
from k8stokendetect.spark.schema import ERROR, FINDING, ROUTED, SAID, tables
from k8stokendetect.spark.stream import STATE, folding

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

BUCKETS: Final = 64
"""Default number of buckets for events that have to be joined; a cluster of 64 cores works on all of them at once."""

_PAGE: Final = 1000


def detect(
    df: DataFrame,
    column: str = "value",
    *,
    detectors: Iterable[Detector | str] | None = None,
    exclusions: Iterable[Exclusion | str] = DEFAULT_EXCLUSIONS,
    keep_excluded: bool = False,
    platform: Platform | None = None,
    origin: Column | str | None = None,
    partition: Column | str | None = None,
    buckets: int = BUCKETS,
    independent: Iterable[str] = INDEPENDENT,
    patience: timedelta = ALLOWED_LATENESS,
) -> DataFrame:
    """Find minted service account tokens in a table of audit records, a batch or a stream.

    Every row holds one record in any form that `read` accepts: a line of a file, a message, a JSON column. The result
    has the columns `FINDING`, `line` (the finding as `outputs.native` writes it) and `error`. In a row with an error
    all other columns are null. `findings` and `errors` separate the two.

    If a detector follows tokens, a batch is read twice: during the call for reported mints, then for everything else. A
    stream is read once.

    Arguments:
        df: the table.
        column: the column with the records: text, binary (gzip, too), or a struct, map or variant parsed from JSON.
        detectors: as for `k8stokendetect.detect`; each task gets its own pickled copy.
        exclusions: as for `k8stokendetect.detect`.
        keep_excluded: also return excluded findings, with `excluded_by`.
        platform: the platform of records that do not name one.
        origin: where a row comes from, for findings and errors, such as `_metadata.file_path`.
        partition: a column whose values share nothing with each other, normally the cluster. Detectors then keep a
            separate memory for each value, and several values are processed at once.
        buckets: the number of buckets for events that have to be joined. A checkpoint belongs to one number.
        independent: rules that keep the state of each key to itself: their keys are spread, too. All keys of any
            other rule go to one bucket of each partition.
        patience: how long, by the clock, a stream's bucket waits for earlier events when no later ones come.

    Raises:
        ConfigError: when an argument is wrong, or pyspark, pandas or pyarrow is missing.

    """
    _check_installed()
    check_platform(platform)
    check(buckets, int, f"buckets must be an integer of at least 1: {buckets!r}", lambda number: number >= 1)
    chosen = choose_detectors(detectors)
    plan = Plan(
        detectors=chosen,
        exclusions=choose_exclusions(exclusions, chosen),
        keep_excluded=keep_excluded,
        platform=platform,
        buckets=buckets,
        independent=frozenset(independent),
        every_use=bool(df.isStreaming),
    )
    return _detected(_rows(df, column, origin, partition), plan, patience)


def _detected(rows: DataFrame, plan: Plan, patience: timedelta) -> DataFrame:
    """Return what both halves give: the first for each row, the second for each bucket."""
    if plan.pipeline(lambda _: None).watchers.follows and not plan.every_use:
        plan = attrs.evolve(plan, followed=_followed(plan, rows))
    routed = rows.mapInArrow(_front(plan), ROUTED)
    found: DataFrame = tables(_streamed(routed, plan, patience) if plan.every_use else _at_once(routed, plan))
    return found


def findings(found: DataFrame, /) -> DataFrame:
    """Return the findings in the result of `detect`."""
    return found.where("error is null").drop("error")


def errors(found: DataFrame, /) -> DataFrame:
    """Return the errors in the result of `detect`: `origin`, `reason`, `path`, `rule_id`."""
    return found.where("error is not null").select("error.*")


def session(name: str = "k8stokendetect", *, cores: int = 2, memory: str = "2g") -> SparkSession:
    """Start a session on this machine, to try things out; a cluster already has one.

    Arguments:
        name: the application's name.
        cores: maximum number of tasks at once.
        memory: memory of the Java process.

    Raises:
        ConfigError: when pyspark, pandas, pyarrow or Java is missing.

    """
    _check_installed()
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=os.path.join(home, "bin")) if home else shutil.which("java")  # noqa: PTH118
    if java is None:
        raise ConfigError("Spark needs Java 17 or newer, which was not found (Debian: openjdk-17-jre-headless)")
    from pyspark.sql import SparkSession  # noqa: PLC0415 - an extra

    builder = SparkSession.builder.master(f"local[{cores}]").appName(name)
    builder = builder.config("spark.driver.memory", memory).config("spark.ui.enabled", "false")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers need the packages of this process
    return builder.config("spark.sql.shuffle.partitions", str(2 * cores)).getOrCreate()


def _check_installed() -> None:
    missing = [name for name in ("pyspark", "pandas", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed: pip install 'k8stokendetect[spark]'")


def _rows(df: DataFrame, column: str, origin: Column | str | None, partition: Column | str | None) -> DataFrame:
    """Return the records as binary, with their origin and partition."""
    from pyspark.sql import functions as sf  # noqa: PLC0415 - an extra
    from pyspark.sql import types  # noqa: PLC0415 - an extra

    value = df.select(column).schema[0].dataType
    record = sf.col(column)
    if isinstance(value, types.StructType | types.MapType | types.ArrayType | types.VariantType):
        record = sf.to_json(record)
    elif not isinstance(value, types.StringType | types.BinaryType):
        raise ConfigError(f"column {column!r} is {value.simpleString()}, not text, binary or JSON")
    known = {name: sf.lit(None) if item is None else item for name, item in (("origin", origin), ("part", partition))}
    columns = [(sf.col(item) if isinstance(item, str) else item).cast("string").alias(n) for n, item in known.items()]
    return df.select(record.cast("binary").alias("value"), *columns)


def _followed(plan: Plan, rows: DataFrame) -> frozenset[str]:
    """Return the tokens of a batch to follow: those whose mint is reported."""

    def mints(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        for names in minted(plan, batches):
            yield pa.RecordBatch.from_pydict({"name": pa.array(names, pa.string())})

    found = rows.mapInArrow(mints, "name string").distinct().collect()
    return frozenset(row["name"] for row in found)


def _front(plan: Plan) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the first half as a function for Spark to call."""

    def front(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyspark import TaskContext  # noqa: PLC0415 - an extra

        kinds = [pa.int32(), pa.int64(), pa.string(), pa.string(), pa.string(), pa.binary()]
        names = ["bucket", "moment", "tie", "part", "kind", "payload"]
        context = TaskContext.get()
        for rows in Front(plan, context.partitionId() if context else 0).route(batches):
            columns = zip(*rows, strict=True) if rows else [()] * len(names)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names)

    return front


def _at_once(routed: DataFrame, plan: Plan) -> DataFrame:
    """Run the second half of a batch: each bucket's rows in order."""

    def back(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        rows = (row for batch in batches for row in batch.to_pylist())
        said = in_order(plan, rows)
        while page := list(itertools.islice(said, _PAGE)):
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, pa.string()) for column in zip(*page, strict=True)], ["kind", "document"]
            )

    return routed.repartition("bucket").sortWithinPartitions("bucket", "part", "moment", "tie").mapInArrow(back, SAID)


def _streamed(routed: DataFrame, plan: Plan, patience: timedelta) -> DataFrame:
    """Run the second half of a stream."""
    return routed.groupBy("bucket").applyInPandasWithState(
        folding(plan, patience), SAID, STATE, "append", "ProcessingTimeTimeout"
    )


__all__ = ["BUCKETS", "ERROR", "FINDING", "INDEPENDENT", "detect", "errors", "findings", "session"]
