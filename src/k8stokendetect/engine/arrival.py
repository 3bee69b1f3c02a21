# SPDX-License-Identifier: Apache-2.0
"""`Arrival`: an event on its way through the pipeline, with what is known of it so far."""

from __future__ import annotations

import attrs

from k8stokendetect.engine.marking import UNKNOWN_ACTOR, Judgement
from k8stokendetect.engine.watchers import Watching
from k8stokendetect.events import Event
from k8stokendetect.findings import Finding


@attrs.define
class Arrival:
    """An event on its way.

    Attributes:
        event: the event.
        number: its position; an event that is delivered again has another one.
        name: its request's id; empty until it is judged, and without a time: repetitions cannot be recognised then.
        judgement: of the exclusions.
        is_judged: `judgement` is of this event, as it is now.
        reported: what was found about it and no exclusion excludes.
        watching: the detectors that it concerns; None until they are looked up.
        was_folded: keyed detectors took it before; None until that is known.

    """

    event: Event
    number: int
    name: str = ""
    judgement: Judgement = UNKNOWN_ACTOR
    is_judged: bool = False
    reported: tuple[Finding, ...] = ()
    watching: Watching | None = None
    was_folded: bool | None = None
