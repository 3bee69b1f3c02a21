# SPDX-License-Identifier: Apache-2.0
"""Packs what a detector remembers of a key into few bytes, for the many keys of which nothing is heard for long."""

from __future__ import annotations

import zlib
from typing import Any, Generic, TypeVar

import attrs
import msgspec

from k8stokendetect.convert.structure import CONVERTER, structure

S = TypeVar("S")


@attrs.define
class Packing(Generic[S]):
    """Compressed JSON, in the form of `KeyedDetector.state`; most states are like the first, which is the sample.

    Attributes:
        kind: the class of a state; None where states stay as they are.

    """

    kind: Any = None
    _sample: bytes = attrs.field(default=b"", init=False)

    def packed(self, state: S, /) -> S | bytes:
        """Return a state packed, or as it is where that is not possible."""
        if self.kind is None:
            return state
        try:
            text = msgspec.json.encode(CONVERTER.unstructure(state, self.kind))
        except ValueError:  # half of a surrogate pair is not JSON
            return state
        self._sample = self._sample or text
        packing = zlib.compressobj(zdict=self._sample)
        return packing.compress(text) + packing.flush()

    def whole(self, state: S | bytes, /) -> S:
        """Return a state as it was."""
        if not isinstance(state, bytes):
            return state
        text = zlib.decompressobj(zdict=self._sample).decompress(state)
        found: S = structure(msgspec.json.decode(text), self.kind)
        return found
