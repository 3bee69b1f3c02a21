# SPDX-License-Identifier: Apache-2.0
"""What detectors want to see, as texts that stand in the bytes of a record: what holds none need not be parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from k8stokendetect._bytes import count, find

Word = bytes | tuple[bytes, ...]
"""A text, or several that stand in one line together."""

_ID: Final = re.compile(rb'JTI=[^"\\]+')
_ACCOUNT: Final = re.compile(rb"system:serviceaccount:[a-z0-9.-]+:[a-z0-9.-]+")
_ALWAYS: Final = (
    *(b"%4", b"%5", b"%6", b"%7"),  # a percent-encoded letter: a path that means what no word here says
    *(b'"data"', b'"data\\'),  # base64 of another record: CloudWatch, Kinesis, Firehose, Pub/Sub
    b"issued-credential-id",
)
_ENDS: Final = frozenset(b'"\\?/&# ')
"""What may follow a resource: the end of a string, however often it is escaped, or of a path's segment."""

# A service account's request, and the id of its token, plain and in a string of a wrapper. Where there is one id for
# each account, the cluster writes ids; where not, every request of an account is looked at.
_USERS: Final = (b'"username":"system:serviceaccount:', b'\\"username\\":\\"system:serviceaccount:')
_IDS: Final = (b'["JTI=', b'[\\"JTI=')


@attrs.define
class Interest:
    """Whether a line may concern any detector, told from its bytes; sound in every wrapper and at every nesting.

    Arguments:
        resources: last parts of the resources that are watched, such as `token` of `serviceaccounts/token`.
        words: other texts that are looked for, alone or together.
        follows: events made with a followed token, or by a followed service account, are wanted, too.

    Attributes:
        followed: ids of the tokens that are followed at present, and user names where there are no ids.
        added: the same in the order in which they came, for those who look for them in what was passed over.

    """

    resources: tuple[bytes, ...]
    words: tuple[Word, ...]
    follows: bool
    followed: set[bytes] = attrs.field(factory=set)
    added: list[bytes] = attrs.field(factory=list)
    _together: dict[bytes, list[tuple[bytes, ...]]] = attrs.field(factory=dict, init=False)
    _alone: tuple[bytes, ...] = attrs.field(default=(), init=False)
    _doubtful: tuple[bytes, ...] = attrs.field(default=(), init=False)

    def __attrs_post_init__(self) -> None:
        for word in self.words:
            if isinstance(word, tuple):
                self._together.setdefault(word[0], []).append(word[1:])
        self._alone = (*_ALWAYS, *(word for word in self.words if isinstance(word, bytes)))
        self._doubtful = (*self.resources, *self._together)

    def follow(self, name: str, /) -> None:
        """Want to see the uses of a token, or the acts of a service account."""
        word = name.encode()
        if word not in self.followed:
            self.followed.add(word)
            self.added.append(word)

    def concerns(self, text: bytes, /) -> bool:
        """Tell whether one record may concern any detector."""
        if any(find(text, word) >= 0 for word in self._alone):
            return True
        if any(find(text, word) >= 0 for word in self._doubtful) and self.places(text + b"\n"):
            return True
        if not self.follows or not any(find(text, word) >= 0 for word in _USERS):
            return False
        ids = _ID.findall(text)
        return not ids or not self.followed.isdisjoint(ids) or not self.followed.isdisjoint(_ACCOUNT.findall(text))

    def places(self, block: bytes, /) -> list[int]:
        """Return where in a block of lines something of interest stands, in order; several places may be in a line."""
        found: list[int] = []
        for resource in self.resources:
            length = len(resource)
            found += (place for place in _each(block, resource) if block[place + length] in _ENDS)
        for word in self._alone:
            found += _each(block, word)
        for head, others in self._together.items():
            found += (place for place in _each(block, head) if _stands_with(block, place, others))
        if self.follows:
            for pattern in (_ID, _ACCOUNT) if self.followed else ():
                found += self.uses(block, self.followed.intersection(pattern.findall(block)))
            found += _without_id(block)
        return sorted(found)

    def uses(self, block: bytes, followed: set[bytes], /) -> Iterator[int]:
        """Yield where these tokens or service accounts stand."""
        return (place for word in followed for place in _each(block, word))


def _each(block: bytes, word: bytes) -> Iterator[int]:
    place = find(block, word)
    while place >= 0:
        yield place
        place = find(block, word, place + 1)


def _stands_with(block: bytes, place: int, alternatives: list[tuple[bytes, ...]]) -> bool:
    """Tell whether all other texts of an alternative stand in the same line."""
    start, end = line_at(block, place)
    line = block[start:end]
    return any(all(find(line, other) >= 0 for other in others) for others in alternatives)


def line_at(block: bytes, place: int, /) -> tuple[int, int]:
    """Return where the line begins and ends that a place is in."""
    return block.rfind(b"\n", 0, place) + 1, block.find(b"\n", place) + 1


def _without_id(block: bytes) -> Iterable[int]:
    """Yield requests of service accounts whose token has no id: on clusters before 1.30 they are all there is."""
    users, ids = sum(count(block, word) for word in _USERS), sum(count(block, word) for word in _IDS)
    if users == ids:
        return
    for word in _USERS:
        for place in _each(block, word):
            start, end = line_at(block, place)
            if not any(block.find(id_, start, end) >= 0 for id_ in _IDS):
                yield place
