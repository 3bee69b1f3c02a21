# SPDX-License-Identifier: Apache-2.0
"""Decides from a few fields of an event whether any detector wants it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

import msgspec

from k8stokendetect.envelopes.lines import object_ref
from k8stokendetect.errors import ConfigError
from k8stokendetect.events import TOKEN_SUBRESOURCE, Signal
from k8stokendetect.identity import LEADERS, LONGEST_HARMLESS, SERVICE_ACCOUNT_PREFIX
from k8stokendetect.reading.projection import ABSENT, Annotations, Plain, Projection

EVERYTHING: Final = "*"

MOST_FOLLOWED: Final = 300_000
"""Maximum number of tokens that are followed, more than any detector remembers; then the oldest tenth is forgotten."""

MOST_KNOWN: Final = 100_000
"""Maximum number of unbound tokens whose uses are skipped; then each is read once more."""

_NO_GROUPS: Final[frozenset[str | None]] = frozenset()

_PRETTY: Final = re.compile(rb"ew[ok0]")
"""Base64 of a header that begins with a brace and a line end or a tab."""

_HIDDEN: Final = re.compile(rb"%(?:25)*[4-7]|\\u00(?:[4-7]|25|30)")
"""A letter that is percent-encoded, once or more, or escaped in JSON; Go escapes none."""

_J, _A, _X, _W, _PERCENT, _BACKSLASH = b"JAXw%\\"

_ENCODED: Final = re.compile(r"%2[fF]t|%[4-7]")
"""A path whose letters are percent-encoded: what it means is seen only once it is decoded."""


def parse_watch(watch: str, /) -> tuple[str, str | None]:
    """Split a watch into resource and verb: `create clusterroles`; no verb means every verb.

    Raises:
        ConfigError: when it is neither `RESOURCE` nor `VERB RESOURCE`.

    """
    verb, space, resource = watch.rpartition(" ")
    if not resource or " " in verb or bool(space) != bool(verb):
        raise ConfigError(f"not a watch, `RESOURCE` or `VERB RESOURCE`: {watch!r}")
    return resource, verb or None


class Prefilter:
    """What the detectors of one run want to read.

    An event that issued a credential counts as serviceaccounts/token, whatever its objectRef says.

    Arguments:
        watches: resources in RBAC notation, with or without a verb before them (`create clusterroles`), in any API
            group or in one (`widgets.example.com`); `*` for every event; signals.
        followed: names that are followed from the beginning.

    Attributes:
        everything: every event is wanted.
        unwanted: told the projection of an event, returns None where a detector wants it; otherwise the id of the
            token that it was made with, "" where it was made with a certificate, which nobody mints, or has no id.
        followed: ids of reported tokens, and user names of service accounts where the log has no ids, the oldest first.
        added: those that nobody has looked for yet in what was skipped; who does takes them out.

    """

    def __init__(self, watches: Iterable[str | Signal], followed: Iterable[str] = ()) -> None:
        self.watches = frozenset(watches)
        self.everything = EVERYTHING in self.watches
        self.followed: dict[str, None] = {}
        self.added: list[str] = []
        self.follows = Signal.USE_OF_REPORTED in self.watches
        self._any_use = Signal.USE_OF_ANY in self.watches
        self._legacy = Signal.LEGACY_TOKEN in self.watches
        self._unbound = Signal.UNBOUND_USE in self.watches
        self._known: set[str] = set()
        self._live = Signal.LIVE_TOKEN in self.watches
        self._leases = Signal.LEADER_LEASE in self.watches
        self._unreadable = Signal.UNREADABLE in self.watches
        self._verbs: dict[str, dict[str, dict[str | None, set[str | None]]]] = {}
        for watch in self.watches:
            if isinstance(watch, str):
                self._watch(*parse_watch(watch))
        if self._leases:
            self._verbs.setdefault("leases", {})
        if self._unbound:  # it is of those whose mint is not among them
            self._watch(TOKEN_SUBRESOURCE, None)
        if Signal.CONTRADICTED in self.watches:  # of what is contradicted, what may be has to be read
            self._watch(TOKEN_SUBRESOURCE, None)
            self._legacy = True
        self._mints = "token" in self._verbs.get("serviceaccounts", {})
        self.unwanted: Final = self._decision()
        for name in followed:
            self.follow(name)

    def _watch(self, notation: str, verb: str | None) -> None:
        resource, _, subresource = notation.partition("/")
        resource, _, group = resource.partition(".")
        verbs = self._verbs.setdefault(resource, {}).setdefault(subresource, {})
        verbs.setdefault(verb, set()).add(group or None)

    def follow(self, name: str, /) -> None:
        """Want the uses of a token, by its credential id, or the requests of a service account, by its user name."""
        if name not in self.followed:
            if len(self.followed) >= MOST_FOLLOWED:
                for oldest in list(islice(self.followed, MOST_FOLLOWED // 10)):
                    del self.followed[oldest]
            self.followed[name] = None
            self.added.append(name)

    def know(self, id_: str, /) -> None:
        """Skip an unbound token from now on, which is known, as far as nothing else is wanted of its uses."""
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known.add(id_)

    def wants(self, event: Plain | Projection, /) -> bool:
        """Tell whether a detector wants an event, from its projection."""
        return self.unwanted(event) is None

    def _decision(self) -> Callable[[Plain | Projection], str | None]:  # noqa: C901 - as inside
        """Return `unwanted`. It is asked of every line: names of its own take half the time of attributes."""
        resources, followed, any_use, unreadable = self._verbs, self.followed, self._any_use, self._unreadable
        leases, follows, prefix = (
            resources.get("leases") if self._leases else None,
            self.follows,
            SERVICE_ACCOUNT_PREFIX,
        )
        unbound, known = self._unbound, self._known
        everything, live, longest, absent = self.everything, self._live, LONGEST_HARMLESS, ABSENT

        def unwanted(event: Plain | Projection, /) -> str | None:  # noqa: C901, PLR0911, PLR0912 - calls would double its time
            ref, uri, user, credential = event.object_ref, event.request_uri, event.user, ""
            if ref is None:
                if self._wants_path(event.verb, uri):
                    return None
            elif (resource := ref.resource) in resources:
                subresources = resources[resource]
                verbs = subresources.get(ref.subresource)
                if (
                    verbs is not None
                    and (event.verb in verbs or None in verbs)
                    and self._watches(event.verb, resource, ref.subresource, ref.api_group)
                ):
                    return None
                if subresources is leases and event.verb == "update" and user is not None and user.username in LEADERS:
                    return None
            if user is not None:
                extra = user.extra
                if extra is not None and (ids := extra.credential):
                    used = ids[0]
                    if used in followed:
                        return None
                    if used[:4] == "JTI=":
                        if any_use or (unbound and not extra.pod and used not in known):
                            return None
                        credential = used
                    elif any_use and user.username.startswith(prefix):
                        return None
                elif (any_use or follows) and user.username.startswith(prefix):
                    return None
            if unreadable and ("/token" in uri or "%" in uri) and _is_token_path(uri):
                return None
            if live:
                request, response = event.request_object, event.response_object
                if (request is not absent and _has_sign(request)) or (response is not absent and _has_sign(response)):
                    return None
                if len(uri) > longest and has_token_sign(uri.encode("utf-8", "replace")):
                    return None
            if everything or (isinstance(event, Projection) and self._wants_rare(event)):
                return None
            return credential

        return unwanted

    def _wants_rare(self, event: Projection) -> bool:
        """Look at what `Plain` has not."""
        notes = event.annotations
        if notes is not None and self._wants_notes(notes):
            return True
        status = event.response_status
        return self._live and (
            _is_suspicious(event.user_agent)
            or (status is not None and _is_suspicious(status.message))
            or (event.impersonated_user is not ABSENT and _has_sign(event.impersonated_user))
        )

    def _watches(self, verb: str, resource: str, subresource: str, group: str) -> bool:
        verbs = self._verbs[resource].get(subresource)
        if verbs is None:
            return False
        groups = verbs.get(verb, _NO_GROUPS) | verbs.get(None, _NO_GROUPS)
        return None in groups or group in groups

    def _wants_path(self, verb: str, uri: str) -> bool:
        """Look at a request without objectRef, which the reader recovers from the path."""
        if not (uri.lstrip("/").startswith("api") or "%" in uri):
            return False
        ref = object_ref(uri)
        if ref is None or ref.get("resource") not in self._verbs:
            return False
        return self._watches(verb, ref["resource"], ref.get("subresource", ""), ref.get("apiGroup", ""))

    def _wants_notes(self, notes: Annotations) -> bool:
        unset = msgspec.UNSET
        if notes.issued is not unset or notes.issued_by_kep is not unset:
            return self._mints
        return self._legacy and notes.legacy is not unset


def _has_sign(body: Any) -> bool:
    """Tell whether a token may stand in a body."""
    try:
        return has_token_sign(bytes(body) if isinstance(body, msgspec.Raw) else msgspec.json.encode(body))
    except (TypeError, ValueError, RecursionError):  # no JSON: for the full reader to say
        return True


def _is_suspicious(text: str) -> bool:
    """Tell whether a token may stand in a string that a client chooses, which is over 120 characters then."""
    return len(text) > LONGEST_HARMLESS and has_token_sign(text.encode("utf-8", "replace"))


def has_token_sign(text: bytes, /) -> bool:
    """Tell whether a token may stand in a text: base64 of `{"`, of `{` and white space, or of `ey`; or its field.

    A byte of each is searched for first, as a number: that is found 20 times faster than a text.
    """
    return (
        (_J in text and b"eyJ" in text)
        or (_A in text and b"eyA" in text)
        or (_X in text and b"ZXl" in text)
        or (_W in text and _PRETTY.search(text) is not None)
        or b'"token"' in text
        or ((_PERCENT in text or (_BACKSLASH in text and b"\\u" in text)) and _HIDDEN.search(text) is not None)
    )


def _is_token_path(uri: str) -> bool:
    """Tell whether an event, should it turn out to be unreadable, reveals a call to a token subresource."""
    return "/token" in uri or ("%" in uri and _ENCODED.search(uri) is not None)
