# SPDX-License-Identifier: Apache-2.0
"""Measures what each field of the prefilter's projection costs: decodes every line with one more field each time.

    python benchmarks/projection.py LOG [ROUNDS]

The log holds events as the API server writes them, one a line. The fields are those of
`k8stokendetect.reading.projection.Plain`, in its order; the last row decodes all of them and asks the prefilter of all
built-in detectors. Lines without such a projection are left out. Times are of the processor, the best of several
rounds in turn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import msgspec

from k8stokendetect.detectors import BUILTIN
from k8stokendetect.reading.prefilter import Prefilter
from k8stokendetect.reading.projection import NO_PROJECTION, Plain, project_plain

ROUNDS: Final = 5
LINES: Final = 200_000
"""Maximum number of lines that are read."""


class Cost(NamedTuple):
    """What one more field costs.

    Attributes:
        field: its path.
        microseconds: for a line, with all fields up to it.
        more: than without it.

    """

    field: str
    microseconds: float
    more: float


def _inner(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct in a type such as `User | None`; None where it holds none."""
    return next(
        (one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, msgspec.Struct)), None
    )


def paths(struct: type[msgspec.Struct], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field that holds a value of its own, by names in JSON."""
    for field in msgspec.structs.fields(struct):
        inner = _inner(field.type)
        path = (*before, field.encode_name)
        if inner is None:
            yield path
        else:
            yield from paths(inner, path)


def cut(struct: type[msgspec.Struct], wanted: Sequence[tuple[str, ...]]) -> type[msgspec.Struct]:
    """Return the struct with no fields but those at these paths."""
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for field in msgspec.structs.fields(struct):
        mine = [path[1:] for path in wanted if path[0] == field.encode_name]
        if not mine:
            continue
        inner = _inner(field.type)
        kind = field.type if inner is None else cut(inner, mine) | None
        default = msgspec.field() if field.required else msgspec.field(default=field.default)
        fields.append((field.name, kind, default))
        names[field.name] = field.encode_name
    return msgspec.defstruct(struct.__name__, fields, rename=names, gc=False)


def decoders(lines: Sequence[bytes]) -> dict[str, Callable[[], None]]:
    """Return what decodes all lines, by the last of the fields that it reads."""

    def decoding(struct: type[msgspec.Struct]) -> Callable[[], None]:
        decode = msgspec.json.Decoder(struct).decode

        def work() -> None:
            for line in lines:
                decode(line)

        return work

    def asking() -> None:
        decode, unwanted = project_plain, prefilter.unwanted
        for line in lines:
            unwanted(decode(line))

    prefilter = Prefilter({watch for detector in BUILTIN for watch in detector.watches or ()})
    every = tuple(paths(Plain))
    work = {".".join(path): decoding(cut(Plain, every[:number])) for number, path in enumerate(every, 1)}
    return {"no field": decoding(cut(Plain, ())), **work, "asked": asking}


def costs(lines: Sequence[bytes], rounds: int) -> list[Cost]:
    """Measure all, in turn, forwards and backwards."""
    work = decoders(lines)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name in work if number % 2 == 0 else reversed(work):
            start = time.process_time()
            work[name]()
            seconds[name].append(time.process_time() - start)
    found: list[Cost] = []
    for name, took in seconds.items():
        each = min(took) / len(lines) * 1e6
        found.append(Cost(name, each, each - found[-1].microseconds if found else each))
    return found


def is_plain(line: bytes) -> bool:
    """Tell whether a line is an event without anything rare."""
    try:
        project_plain(line)
    except NO_PROJECTION:
        return False
    return True


def main() -> None:
    """Print a table."""
    log, rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS  # noqa: PLR2004 - given
    with log.open("rb") as file:
        lines = [line for line in islice(file, LINES) if is_plain(line)]
    print("| field | µs a line | more |\n|---|---:|---:|")
    for cost in costs(lines, rounds):
        print(f"| {cost.field} | {cost.microseconds:.2f} | {cost.more:+.2f} |")


if __name__ == "__main__":
    main()
