# SPDX-License-Identifier: Apache-2.0
"""What runs on the executors; pickled once per task."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from k8stokendetect.detectors import Detector
from k8stokendetect.engine.memory import Memory
from k8stokendetect.engine.pipeline import Pipeline
from k8stokendetect.engine.tally import Tally
from k8stokendetect.errors import OnDetectError
from k8stokendetect.events import Platform
from k8stokendetect.exclusions import Exclusion

if TYPE_CHECKING:
    from k8stokendetect.cluster import Cluster


@attrs.frozen
class Plan:
    """What to look for.

    Arguments:
        detectors: the detectors to run.
        exclusions: the exclusions to apply.
        keep_excluded: whether excluded findings are returned, too.
        platform: the platform of records that do not name one.
        snapshot: the objects of the cluster.
        azure_subjects: of federated credentials in Azure, by their ids.

    """

    detectors: Sequence[Detector]
    exclusions: Sequence[Exclusion]
    keep_excluded: bool = False
    platform: Platform | None = None
    snapshot: Cluster | None = None
    azure_subjects: Mapping[str, str] | None = None

    def pipeline(self, on_error: OnDetectError, tally: Tally, memory: Memory | None = None) -> Pipeline:
        """Make a pipeline with copies of the detectors, as `detect` does.

        Arguments:
            on_error: called with errors of detectors.
            tally: counted up.
            memory: of earlier batches.

        """
        detectors = [copy.deepcopy(detector) for detector in self.detectors]
        memory = Memory() if memory is None else memory
        memory.attach(detectors)
        return Pipeline(
            detectors,
            self.exclusions,
            on_error,
            tally,
            keep_excluded=self.keep_excluded,
            memory=memory,
            azure_subjects=self.azure_subjects,
        )
