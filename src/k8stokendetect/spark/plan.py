# SPDX-License-Identifier: Apache-2.0
"""What runs on the executors, and which bucket an event's share goes to; pickled once for each task."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from k8stokendetect.detectors import Detector, KeyedDetector
from k8stokendetect.engine.pipeline import Stages
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import OnError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions import Exclusion

INDEPENDENT: Final = frozenset(
    {
        "forged-token",
        "legacy-token-secret",
        "pod-token-moved",
        "token-in-audit-log",
        "token-request-denied",
        "unusual-origin",
    }
)
"""Built-in rules that hand no state from one key to another: their keys may go to different buckets."""


@attrs.frozen
class Plan:
    """What is looked for.

    Arguments:
        detectors: those that were asked for.
        silencing: which exclusions may silence which rule.
        keep_excluded: findings that are set aside are wanted, too.
        platform: where the records come from, where they do not say so.
        buckets: over so many is spread what has to be joined.
        independent: rules whose keys have nothing to do with each other.
        followed: ids of tokens whose mint was reported, and user names where there are no ids.
        every_use: which tokens are followed is not known yet: the second half picks out their uses.

    """

    detectors: Sequence[Detector]
    silencing: Mapping[str, list[Exclusion]]
    keep_excluded: bool
    platform: Platform | None
    buckets: int
    independent: frozenset[str]
    followed: frozenset[str] = frozenset()
    every_use: bool = False

    def stages(self, on_error: OnError, kind: type[Stages] = Stages) -> Stages:
        """Make the stages; what remembers is copied, all else is the task's own already."""
        detectors = [copy.deepcopy(one) if isinstance(one, KeyedDetector) else one for one in self.detectors]
        return kind(detectors, dict(self.silencing), on_error, Tally(), keep_excluded=self.keep_excluded)

    def keyed(self) -> list[KeyedDetector[Any]]:
        """Return the detectors that remember."""
        return [detector for detector in self.detectors if isinstance(detector, KeyedDetector)]

    def bucket_of_text(self, text: str, /) -> int:
        """Return where all that is called so goes."""
        return zlib.crc32(text.encode("utf-8", "surrogatepass")) % self.buckets

    def bucket_of_key(self, part: str | None, rule: str, key: str, /) -> int:
        """Return where a key goes; all keys of a rule that hands states on go to one bucket a part."""
        return self.bucket_of_text(f"{part}\0{rule}\0{key if rule in self.independent else ''}")
