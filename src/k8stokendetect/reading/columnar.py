# SPDX-License-Identifier: Apache-2.0
"""Reads Parquet and Arrow files with pyarrow, where that is installed; each row becomes a mapping."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Final

from k8stokendetect.convert.broken import LONGEST_LOOK, revealed
from k8stokendetect.convert.jsonlike import as_record
from k8stokendetect.errors import ReadError
from k8stokendetect.input.kinds import COLUMNAR
from k8stokendetect.input.limits import Limits
from k8stokendetect.input.records import Record

_MAGIC: Final = {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"FEA1": "Feather"}
_IN_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of such a file that are kept in memory; a larger one is copied to a temporary file."""

_ROWS: Final = 1000


def columnar_form(head: bytes, /) -> str | None:
    """Name the form of a file that begins so; None for any other.

    Sources: parquet.apache.org/docs/file-format, arrow.apache.org/docs/format/Columnar.html#ipc-file-format.
    """
    if not COLUMNAR.match(head):
        return None
    return next((form for magic, form in _MAGIC.items() if head.startswith(magic)), None)


def columnar_records(stream: IO[bytes], form: str, limits: Limits, /) -> Iterator[Record]:
    """Yield a mapping for each row, with its number; an error where the file cannot be read any further."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - in the extra `parquet`
    except ModuleNotFoundError:
        yield "", ReadError(f"a {form} file, which pyarrow reads: pip install 'k8stokendetect[parquet]'")
        return
    reason = None
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        shutil.copyfileobj(stream, file)
        size, number = file.tell(), 0
        file.seek(0)
        try:
            for batch in _batches(file, form, size * limits.ratio):
                batch.validate(full=True)  # offsets in a damaged file would lead out of memory
                for row in _without_nanoseconds(batch, pa).to_pylist():
                    number += 1
                    yield f"row {number}", as_record(row)
        except GeneratorExit:
            raise
        except ReadError as error:
            reason = error.reason
        except Exception as error:  # noqa: BLE001 - hostile input: whatever goes wrong becomes a ReadError
            reason = f"a damaged {form} file ({type(error).__name__}); the rest is not read"
        if reason is not None:
            file.seek(0)
            yield f"row {number + 1}", ReadError(reason, revealed=revealed(file.read(LONGEST_LOOK)))


def _batches(file: Any, form: str, longest: float) -> Iterator[Any]:
    """Yield parts of a file; the sizes that it states are checked before they are read."""
    if form == "Parquet":
        from pyarrow import parquet  # noqa: PLC0415 - the same

        opened = parquet.ParquetFile(file)
        for index in range(opened.num_row_groups):
            if opened.metadata.row_group(index).total_byte_size > max(_IN_MEMORY, longest):
                raise ReadError("larger than its size allows when decompressed, the limit max_ratio")
            yield from opened.iter_batches(batch_size=_ROWS, row_groups=[index])
        return
    from pyarrow import feather, ipc  # noqa: PLC0415 - the same

    if form == "Feather":
        yield from feather.read_table(file).to_batches(max_chunksize=_ROWS)
        return
    reader = ipc.open_file(file)
    for index in range(reader.num_record_batches):
        batch = reader.get_batch(index)
        yield from (batch.slice(start, _ROWS) for start in range(0, batch.num_rows, _ROWS))


def _without_nanoseconds(batch: Any, pa: Any) -> Any:
    """Cut times to microseconds, as Python's have; pyarrow would need pandas for them."""
    if "[ns" not in str(batch.schema):
        return batch
    fields = [field.with_type(_microseconds(field.type, pa)) for field in batch.schema]
    table = pa.Table.from_batches([batch])
    return table.cast(pa.schema(fields), safe=False)


def _microseconds(kind: Any, pa: Any) -> Any:
    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_microseconds(field.type, pa)) for field in kind])
    if types.is_list(kind):
        return pa.list_(_microseconds(kind.value_type, pa))
    return kind
