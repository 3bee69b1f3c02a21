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
"""Letters of other scripts, by code point, for the small letters they look like.

Unicode's https://www.unicode.org/Public/security/latest/confusables.txt, after NFKC and case folding, as far as they
look like a letter, colon or hyphen of ASCII.
"""

_LOOK_LIKE_CAPITALS: Final = {
    "a": "13aa 15c5 a4ee",
    "b": "0392 0412 13f4 15f7 a4d0 a7b4",
    "c": "a4da",
    "d": "13a0 15de 15ea a4d3",
    "e": "0395 13ac 2d39 a4f0",
    "f": "03dc 15b4 a4dd",
    "g": "050c 13c0 13f3 a4d6",
    "h": "0397 041d 13bb 157c 2c8e a4e7",
    "j": "13ab 148d a4d9 a7b2",
    "k": "039a 041a 13e6 16d5 2c94 a4d7",
    "l": "13de 14aa 2cd0 a4e1",
    "m": "039c 03fa 041c 13b7 15f0 16d6 2c98 a4df",
    "n": "039d 2c9a a4e0",
    "o": "0b20 12d0 2d54 a4f3",
    "p": "13e2 146d a4d1",
    "q": "2d55",
    "r": "01a6 13a1 13d2 1587 a4e3",
    "s": "054f 13d5 a4e2",
    "t": "03a4 0422 13a2 2ca6 a4d4",
    "u": "1200 144c a4f4",
    "v": "142f 2d38 a4e6 a6df",
    "w": "13d4 a4ea",
    "x": "03a7 16b7 2cac 2d5d a4eb a7b3",
    "y": "03a5 13a9 13bd 2ca8 a4ec",
    "z": "0396 a4dc",
}
"""The same for the capital that each looks like; its own small letter, as in Cyrillic, passes for that one, too."""


_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that show nothing: the fillers of Hangul, which Unicode calls ignorable, and Braille's blank."""


def _table() -> dict[int, str]:
    small = {int(point, 16): letter for letter, points in _LOOK_LIKE.items() for point in points.split()}
    capitals = {int(point, 16): letter for letter, points in _LOOK_LIKE_CAPITALS.items() for point in points.split()}
    lowered = {ord(chr(point).lower()): letter for point, letter in capitals.items() if len(chr(point).lower()) == 1}
    return {**lowered, **capitals, **small}


_ASCII: Final = _table()


@functools.lru_cache(maxsize=4096)
def fold(name: str, /) -> str:
    """Return a name without invisible characters and white space, in lower case, in letters of ASCII."""
    seen = "".join(letter for letter in name if not _is_invisible(letter))
    folded = unicodedata.normalize("NFKC", seen).translate(_ASCII).casefold()
    return "".join(letter for letter in folded.translate(_ASCII) if not _is_invisible(letter))


def odd_characters(name: str, /) -> str:
    """Name the characters that make a name differ from what it looks like: `U+0456 in place 3`."""
    return ", ".join(
        f"U+{ord(letter):04X} in place {place}" for place, letter in enumerate(name, start=1) if fold(letter) != letter
    )


def _is_invisible(letter: str) -> bool:
    """Tell whether a character is a space, a control or format character, a filler, or a mark over another."""
    return letter in _BLANK or unicodedata.category(letter) in {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"}
