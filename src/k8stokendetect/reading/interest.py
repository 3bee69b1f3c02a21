# SPDX-License-Identifier: Apache-2.0
"""What detectors want to see, as texts that stand in the bytes of a record: what holds none need not be parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from k8stokendetect.convert.byte_search import count, find

Word = bytes | tuple[bytes, ...]
"""A text, or several that stand in one line together."""

ID: Final = re.compile(rb'JTI=[^"\\]+')
"""The id of a token, in whatever it stands."""

_ID_HEAD: Final = b"JTI="
_ACCOUNT: Final = re.compile(rb"system:serviceaccount:[a-z0-9.-]+:[a-z0-9.-]+")
_ENDS: Final = frozenset(b'"\\?/&# ')
"""What may follow a resource: the end of a string, however often it is escaped, or of a path's segment."""

_PERCENT: Final = (b"%", frozenset(b"4567"))
"""A percent-encoded letter: a path that means what no word here says."""

_DATA: Final = (b'"data', frozenset(b'"\\'))
"""Base64 of another record: CloudWatch, Kinesis, Firehose, Pub/Sub."""

# A service account's request, and the id of its token, plain and in a string of a wrapper. Where there is one id for
# each account, the cluster writes ids; where not, every request of an account is looked at.
_USERS: Final = (b'"username":"system:serviceaccount:', b'\\"username\\":\\"system:serviceaccount:')
_IDS: Final = (b'["JTI=', b'[\\"JTI=')

_Ended = tuple[bytes, frozenset[int]]
"""A text, and the bytes of which one comes after it."""


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
    _ended: tuple[_Ended, ...] = attrs.field(default=(), init=False)
    _alone: tuple[bytes, ...] = attrs.field(default=(), init=False)
    _lengths: set[int] = attrs.field(factory=set, init=False)
    _accounts: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        for word in self.words:
            if isinstance(word, tuple):
                self._together.setdefault(word[0], []).append(word[1:])
        self._ended = (*((one, _ENDS) for one in _shortest(self.resources)), _DATA, _PERCENT)
        alone = (b"issued-credential-id", *(word for word in self.words if isinstance(word, bytes)))
        alike = _alike(word for word in alone if not any(_implies(word, ended) for ended in self._ended))
        self._ended += tuple((head, ends) for head, ends in alike if len(ends) > 1)
        self._alone = tuple(head + bytes(ends) for head, ends in alike if len(ends) == 1)

    def follow(self, name: str, /) -> None:
        """Want to see the uses of a token, or the acts of a service account."""
        word = name.encode()
        if word not in self.followed:
            self.followed.add(word)
            self.added.append(word)
            if word.startswith(_ID_HEAD):
                self._lengths.add(len(word))
            else:
                self._accounts = True

    def concerns(self, text: bytes, /) -> bool:
        """Tell whether one record may concern any detector."""
        for word in self._alone:
            if find(text, word) >= 0:
                return True
        for word, ends in self._ended:
            if find(text, word) >= 0 and next(_ending(text + b"\n", word, ends), None) is not None:
                return True
        for head, others in self._together.items():
            if find(text, head) >= 0 and any(all(find(text, other) >= 0 for other in more) for more in others):
                return True
        return self.follows and (find(text, _USERS[0]) >= 0 or find(text, _USERS[1]) >= 0) and self._is_use(text)

    def _is_use(self, text: bytes) -> bool:
        ids = ID.findall(text)
        return not ids or not self.followed.isdisjoint(ids) or not self.followed.isdisjoint(_ACCOUNT.findall(text))

    def places(self, block: bytes, between: bytes = b"\n", /, *, native: bool = False) -> list[int]:
        """Return where in a block of lines something of interest stands, but for what is followed.

        The places are in no order; several may be in a line.

        Arguments:
            block: whole lines, each with its end.
            between: what stands between two records of one line, and in none of them.
            native: all of them are events as the API server writes them, in no wrapper.

        """
        found: list[int] = []
        for word, ends in self._ended:
            if not (native and word == _DATA[0]):
                found += _ending(block, word, ends)
        for word in self._alone:
            found += _each(block, word)
        for head, others in self._together.items():
            found += _standing_together(block, head, others, between)
        if self.follows:
            found += _without_id(block, forms=1 if native else 2)
        return found

    def of_followed(self, block: bytes, /) -> Iterator[int]:
        """Yield where tokens stand that are followed, and their service accounts where there are no ids."""
        for length in self._lengths:
            place = find(block, _ID_HEAD)
            while place >= 0:
                if block[place : place + length] in self.followed:
                    yield place
                place = find(block, _ID_HEAD, place + 1)
        if self._accounts:
            yield from self.uses(block, self.followed.intersection(_ACCOUNT.findall(block)))

    def uses(self, block: bytes, followed: set[bytes], /) -> Iterator[int]:
        """Yield where these tokens or service accounts stand."""
        return (place for word in followed for place in _each(block, word))


def _shortest(words: tuple[bytes, ...]) -> list[bytes]:
    """Leave out what ends in another one: who finds `roles` finds `clusterroles`."""
    return [word for word in words if not any(word != other and word.endswith(other) for other in words)]


def _alike(words: Iterable[bytes]) -> list[_Ended]:
    """Join those that differ in the last byte only: one search finds them all."""
    ends: dict[bytes, set[int]] = {}
    for word in words:
        ends.setdefault(word[:-1], set()).add(word[-1])
    return [(head, frozenset(last)) for head, last in ends.items()]


def _implies(word: bytes, ended: _Ended) -> bool:
    """Tell whether a word is found wherever this one is looked for."""
    text, ends = ended
    return any(word[one.end()] in ends for one in re.finditer(re.escape(text), word) if one.end() < len(word))


def _each(block: bytes, word: bytes) -> Iterator[int]:
    place = find(block, word)
    while place >= 0:
        yield place
        place = find(block, word, place + 1)


def _ending(block: bytes, word: bytes, ends: frozenset[int]) -> Iterator[int]:
    """Yield where a word stands with one of these bytes after it."""
    length = len(word)
    return (place for place in _each(block, word) if block[place + length] in ends)


def _standing_together(
    block: bytes, head: bytes, alternatives: list[tuple[bytes, ...]], between: bytes
) -> Iterator[int]:
    """Yield the records in which all other texts of an alternative stand with the first."""
    place = find(block, head)
    while place >= 0:
        start, end = line_at(block, place)
        start, after = max(start, block.rfind(between, start, place)), block.find(between, place, end)
        end = end if after < 0 else after + 1
        line = block[start:end]
        for others in alternatives:
            for other in others:
                if find(line, other) < 0:
                    break
            else:
                yield place
                break
        place = find(block, head, end)


def line_at(block: bytes, place: int, /) -> tuple[int, int]:
    """Return where the line begins and ends that a place is in."""
    return block.rfind(b"\n", 0, place) + 1, block.find(b"\n", place) + 1


def _without_id(block: bytes, forms: int) -> Iterable[int]:
    """Yield requests of service accounts whose token has no id: on clusters before 1.30 they are all there is."""
    users, ids = _USERS[:forms], _IDS[:forms]
    if sum(count(block, word) for word in users) == sum(count(block, word) for word in ids):
        return
    for word in users:
        for place in _each(block, word):
            start, end = line_at(block, place)
            if not any(block.find(id_, start, end) >= 0 for id_ in ids):
                yield place
