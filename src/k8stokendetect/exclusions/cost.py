# SPDX-License-Identifier: Apache-2.0
"""Says what an exclusion hides besides the mint itself: all that other rules would report of such a token."""

from __future__ import annotations

from collections.abc import Iterator

from k8stokendetect.exclusions.base import Exclusion


def also_hides(exclusion: Exclusion, /) -> str:
    """Return that in one sentence; empty where the exclusion's `rules` leave other rules on."""
    return "" if exclusion.rules is not None else f"{', '.join(_parts(exclusion))}."


def _parts(exclusion: Exclusion) -> Iterator[str]:
    shape = exclusion.component.token
    if shape is None or shape.audiences is None:
        yield "tokens for clouds and every other audience"
    elif shape.audiences:
        yield f"tokens for {', '.join(shape.audiences)}"
    if shape is None or shape.longest is None:
        yield "tokens of any lifetime"
    else:
        yield f"tokens of up to {shape.longest} s"
    if shape is None or not shape.bound_kind:
        yield "tokens bound to nothing"
    if shape is not None and exclusion.component.if_unseen == "exclude":
        yield "where the request body is not logged, tokens of every shape that the API server grants"
    yield "and whatever such a token does afterwards"
