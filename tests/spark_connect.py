# SPDX-License-Identifier: Apache-2.0
"""A client of Spark Connect as a program of its own: `spark_connect.py LOG` prints the number of findings."""

from __future__ import annotations

import os
import sys

from k8stokendetect import spark


def main() -> None:
    """Start a server on this machine, ask it, and stop it."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - it may be missing

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = SparkSession.builder.remote("local[2]").config("spark.sql.shuffle.partitions", "2").getOrCreate()
    sys.stdout.write(f"{spark.findings(spark.detect(session.read.text(sys.argv[1]))).count()}\n")
    session.stop()


if __name__ == "__main__":
    main()
