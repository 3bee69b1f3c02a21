# SPDX-License-Identifier: Apache-2.0
"""The same detectors, exclusions and findings on Apache Spark, for batches and streams."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from k8stokendetect.detectors import Detector
from k8stokendetect.detectors.base import checked_cluster
from k8stokendetect.engine.cloud_lane import checked_subjects
from k8stokendetect.engine.selection import choose_detectors, choose_exclusions
from k8stokendetect.errors import ConfigError, check
from k8stokendetect.events import Platform, check_platform
from k8stokendetect.exclusions import DEFAULT_EXCLUSIONS, Exclusion
from k8stokendetect.spark.front import Front
from k8stokendetect.spark.plan import Plan
from k8stokendetect.spark.schema import ERROR, FINDING, ROUTED, SAID, TALLY, tables
from k8stokendetect.spark.share import in_order
from k8stokendetect.spark.stream import STATE, folding

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from k8stokendetect.cluster import Cluster

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
    cluster: Cluster | None = None,
    cluster_name: Column | str | None = None,
    patience: timedelta | None = None,
    azure_subjects: Mapping[str, str] | None = None,
) -> DataFrame:
    """Find minted service account tokens in a table of audit records, a batch or a stream; it is read once.

    Every row holds one record in any form that `read` accepts: a line of a file, a message, a JSON column; also of a
    cloud's log, which is joined with the audit log of the same `cluster_name`: `audit.unionByName(trail)`. The result
    has the columns `FINDING`, `line` (the finding as `outputs.native` writes it), `error` and `tally`. In a row with an
    error or a tally all other columns are null. `findings`, `errors` and `tallies` separate the three.

    Arguments:
        df: the table.
        column: the column with the records: text, binary (gzip, too), or a struct, map or variant parsed from JSON.
        detectors: as for `k8stokendetect.detect`; each task gets its own pickled copy.
        exclusions: as for `k8stokendetect.detect`.
        keep_excluded: also return excluded findings, with `excluded_by`.
        platform: the platform of records that do not name one.
        origin: where a row comes from, for findings and errors, such as `_metadata.file_path`.
        cluster: a snapshot of the cluster, as for `k8stokendetect.detect`.
        cluster_name: the column that names the cluster of a row. Clusters share nothing: each has its own memory, and
            several are worked on at once. Without it, all rows are of one.
        patience: how long, by the machine's clock, a stream lets events wait for earlier ones when nothing more comes
            from their cluster. None: until more comes, or for no time at all if they are over a minute old; a query
            with the trigger `availableNow` ends by itself then.
        azure_subjects: as for `k8stokendetect.detect`.

    Raises:
        ConfigError: when an argument is wrong, or pyspark, pandas or pyarrow is missing.

    """
    _check_installed()
    check_platform(platform)
    kinds = (timedelta, type(None))
    check(patience, kinds, "patience is not a timedelta of zero or more", lambda it: it is None or it >= timedelta())
    chosen = choose_detectors(detectors)
    if checked_cluster(cluster) is not None:
        for detector in chosen:
            detector.cluster = cluster
    subjects = checked_subjects(azure_subjects)
    plan = Plan(chosen, choose_exclusions(exclusions, chosen), keep_excluded, platform, cluster, subjects)
    routed = _rows(df, column, origin, cluster_name).mapInArrow(_front(plan), ROUTED)
    found: DataFrame = tables(_streamed(routed, plan, patience) if df.isStreaming else _at_once(routed, plan))
    return found


def findings(found: DataFrame, /) -> DataFrame:
    """Return the findings in the result of `detect`."""
    return found.where("line is not null").drop("error", "tally")


def errors(found: DataFrame, /) -> DataFrame:
    """Return the errors in the result of `detect`: `origin`, `reason`, `path`, `rule_id`."""
    return found.where("error is not null").select("error.*")


def tallies(found: DataFrame, /) -> DataFrame:
    """Return the tallies in the result of `detect`: their sum accounts for everything that was read, see `TALLY`."""
    return found.where("tally is not null").select("tally.*")


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


def _rows(df: DataFrame, column: str, origin: Column | str | None, cluster: Column | str | None) -> DataFrame:
    """Return the records as binary, with their origin and cluster."""
    from pyspark.sql import functions as sf  # noqa: PLC0415 - an extra
    from pyspark.sql import types  # noqa: PLC0415 - an extra

    value = df.select(column).schema[0].dataType
    record = sf.col(column)
    if isinstance(value, types.StructType | types.MapType | types.ArrayType | types.VariantType):
        record = sf.to_json(record)
    elif not isinstance(value, types.StringType | types.BinaryType):
        raise ConfigError(f"column {column!r} is {value.simpleString()}, not text, binary or JSON")
    known = {name: sf.lit(None) if item is None else item for name, item in (("origin", origin), ("cluster", cluster))}
    columns = [(sf.col(item) if isinstance(item, str) else item).cast("string").alias(n) for n, item in known.items()]
    return df.select(record.cast("binary").alias("value"), *columns)


def _front(plan: Plan) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the first half as a function for Spark to call."""

    def front(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        kinds = [pa.string(), pa.int64(), pa.string(), pa.string(), pa.binary()]
        names = ["cluster", "moment", "tie", "kind", "payload"]
        for rows in Front(plan).route(batches):
            columns = zip(*rows, strict=True) if rows else [()] * len(names)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names)

    return front


def _at_once(routed: DataFrame, plan: Plan) -> DataFrame:
    """Run the second half of a batch: each cluster's rows in order."""

    def back(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        rows = (row for batch in batches for row in batch.to_pylist())
        said = in_order(plan, rows)
        while page := list(itertools.islice(said, _PAGE)):
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, pa.string()) for column in zip(*page, strict=True)], ["kind", "document"]
            )

    return routed.repartition("cluster").sortWithinPartitions("cluster", "moment", "tie").mapInArrow(back, SAID)


def _streamed(routed: DataFrame, plan: Plan, patience: timedelta | None) -> DataFrame:
    """Run the second half of a stream."""
    timeout = "NoTimeout" if patience is None else "ProcessingTimeTimeout"
    return routed.groupBy("cluster").applyInPandasWithState(folding(plan, patience), SAID, STATE, "append", timeout)


__all__ = ["ERROR", "FINDING", "TALLY", "detect", "errors", "findings", "session", "tallies"]
