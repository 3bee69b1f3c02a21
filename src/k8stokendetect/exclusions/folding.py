# SPDX-License-Identifier: Apache-2.0
"""Folds user names, so that one which only looks like another becomes equal to it."""

from __future__ import annotations

import functools
import unicodedata
from typing import Final

_LOOK_LIKE: Final = {
    "-": "02d7 2010 2012 2013 2014 2043 2212 2796 2cbb",
    ":": "02d0 02f8 0589 0903 0a83 16ec 1803 1809 205a 2236 a4fd a789",
    "a": "0251 03b1 0430 237a",
    "b": "0185 044c 13cf 1472 15af",
    "c": "03c3 0441 13df 1d04 2ca5",
    "d": "0501 13e7 146f a4d2",
    "e": "0435 04bd 212e ab32",
    "f": "0584 1e9d a799 ab35",
    "g": "018d 0261 0581 1d83",
    "h": "04bb 0570 13c2",
    "i": "0131 0269 026a 03b9 0456 04cf 13a5 2373 a647",
    "j": "03f3 0458",
    "l": "01c0 0269 03b9 0456 04cf 06f1 16c1 2223 23fd 2502 2c93 2d4f a4f2",
    "n": "0578 057c",
    "o": "03bf 03c3 043e 0585 06f5 0966 0a66 0ae6 0be6 0c02 0c66 0c82 0ce6 "
    "0d02 0d20 0d66 0d82 0e50 0ed0 101d 1040 10ff 1d0f 1d11 2c9f ab3d",
    "p": "03c1 0440 2374 2ca3",
    "q": "051b 0563 0566",
    "r": "0433 13b1 1d26 2c85 ab47 ab48",
    "s": "01bd 0455 13da a731",
    "u": "028b 03c5 057d 1d1c a79f ab4e ab52",
    "v": "03bd 0475 13d9 1d20 2228 22c1",
    "w": "026f 0461 051d 0561 13b3 1d21",
    "x": "00d7 0445 1541 157d 166e 292b 292c 2a2f",
    "y": "0263 028f 03b3 0443 04af 10e7 1d8c 1eff ab5a",
    "z": "13c3 1d22",
}
"""Letters of other scripts, by code point, for those they look like.

Unicode's https://www.unicode.org/Public/security/latest/confusables.txt, after NFKC and case folding, as far as they
look like a letter, colon or hyphen of ASCII.
"""

_ASCII: Final = {int(point, 16): letter for letter, points in _LOOK_LIKE.items() for point in points.split()}


@functools.lru_cache(maxsize=4096)
def fold(name: str, /) -> str:
    """Return a name without invisible characters and white space, in lower case, in letters of ASCII."""
    seen = "".join(letter for letter in name if not _is_invisible(letter))
    folded = unicodedata.normalize("NFKC", seen).casefold()
    return "".join(letter for letter in folded.translate(_ASCII) if not _is_invisible(letter))


def odd_characters(name: str, /) -> str:
    """Name the characters that make a name differ from what it looks like: `U+0456 in place 3`."""
    return ", ".join(
        f"U+{ord(letter):04X} in place {place}" for place, letter in enumerate(name, start=1) if fold(letter) != letter
    )


def _is_invisible(letter: str) -> bool:
    """Tell whether a character is a space, a control or format character, or a mark over another."""
    return unicodedata.category(letter) in {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"}
