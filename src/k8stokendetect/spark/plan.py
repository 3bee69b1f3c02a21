# SPDX-License-Identifier: Apache-2.0
"""What runs on the executors, and which bucket an event goes to; pickled once per task."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from k8stokendetect.detectors import BUILTIN, OPTIONAL, Detector, KeyedDetector
from k8stokendetect.engine.pipeline import Pipeline
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import OnDetectError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions import Exclusion

INDEPENDENT: Final = frozenset(cls.rule.id for cls in (*BUILTIN, *OPTIONAL) if cls.traits.separate_keys)
"""Built-in rules that keep the state of each key to itself: their keys may go to different buckets."""


@attrs.frozen
class Plan:
    """What to look for.

    Arguments:
        detectors: the detectors to run.
        exclusions: the exclusions to apply.
        keep_excluded: whether excluded findings are returned, too.
        platform: the platform of records that do not name one.
        buckets: the number of buckets for events that have to be joined.
        independent: rules that pass no state from one key to another.
        followed: ids of tokens whose mint was reported, or user names if there are no ids.
        every_use: whether the tokens to follow are still unknown, so that the second half picks out their uses.

    """

    detectors: Sequence[Detector]
    exclusions: Sequence[Exclusion]
    keep_excluded: bool
    platform: Platform | None
    buckets: int
    independent: frozenset[str]
    followed: frozenset[str] = frozenset()
    every_use: bool = False

    def pipeline(self, on_error: OnDetectError, states: Mapping[str, Mapping[str, Any]] | None = None) -> Pipeline:
        """Make a pipeline; what remembers is copied, all else is the task's own already.

        Arguments:
            on_error: called with errors of detectors.
            states: what keyed detectors remember, by rule id.

        """
        detectors = [copy.deepcopy(one) if isinstance(one, KeyedDetector) else one for one in self.detectors]
        for detector in detectors:
            if isinstance(detector, KeyedDetector) and detector.rule.id in (states or {}):
                detector.restore((states or {})[detector.rule.id])
        pipeline = Pipeline(detectors, self.exclusions, on_error, Tally(), keep_excluded=self.keep_excluded)
        pipeline.watchers.followed |= self.followed
        return pipeline

    def keyed(self) -> list[KeyedDetector[Any]]:
        """Return the detectors with memory."""
        return [detector for detector in self.detectors if isinstance(detector, KeyedDetector)]

    def bucket_of_text(self, text: str, /) -> int:
        """Return the bucket for a name."""
        return zlib.crc32(text.encode("utf-8", "surrogatepass")) % self.buckets

    def bucket_of_key(self, part: str | None, rule: str, key: str, /) -> int:
        """Return where a key goes; all keys of any other rule go to one bucket a part."""
        return self.bucket_of_text(f"{part}\0{rule}\0{key if rule in self.independent else ''}")
