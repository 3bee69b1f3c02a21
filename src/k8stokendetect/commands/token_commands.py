# SPDX-License-Identifier: Apache-2.0
"""Recognises commands that request a service account token, and on which terms, by their arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote

import attrs

from k8stokendetect.reprs import with_short_repr

_KUBECTL: Final = re.compile(r"(kubectl|oc)(?:[:@].*|[-_.]?v?\d.*)?", re.DOTALL)
"""Also with a version, as in `kubectl-1.33`, or an image tag."""

NOT_REQUESTING: Final = frozenset(
    "apropos cat echo egrep fgrep git grep head less ls man more printf rg sed tail test vi vim which".split()
)
"""Programs that take such words as text; kubectl's own words are still recognised under such a name."""

_VALUED: Final = frozenset(
    """
    as as-group as-uid as-user-extra cache-dir certificate-authority client-certificate client-key cluster context
    kubeconfig kuberc log-backtrace-at log-dir log-file log-file-max-size log-flush-frequency namespace password profile
    profile-output request-timeout server stderrthreshold tls-server-name token user username v vmodule
    audience bound-object-kind bound-object-name bound-object-uid duration field-manager filename kustomize output raw
    selector template
    """.split()
)
"""Options of kubectl that take a value: global ones, those of `create` and of `create token` (kubectl, v1.33)."""

_OC: Final = frozenset({"get-token", "new-token", "create-kubeconfig"})
"""`oc sa …` of earlier OpenShift versions: they print or make tokens that are kept in Secrets."""

_SHORT: Final = {"f": "filename", "k": "kustomize", "l": "selector", "n": "namespace", "o": "output", "s": "server"}
_PATH: Final = re.compile(
    r"(?:namespaces/+([^/]{1,253})/+)?serviceaccounts/+([^/]{1,253})/+token(?![\w.-])", re.IGNORECASE
)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_STEPS_BACK: Final = re.compile(r"/(?!\.\./)[^/]+/\.\.(?=/)")
_RUNS_TEXT: Final = re.compile(r"-\w*[ce]|--command|--eval|--exec|-S|--split-string")
_TAKES_COMMANDS: Final = frozenset({"parallel", "ssh", "watch", "eval"})
_CONTROL: Final = frozenset("();<>|&\n")
_QUOTING: Final = str.maketrans("", "", "'\"\\\n")
_DEEPEST: Final = 3
"""Maximum depth of shells within shells in which commands are looked for."""

_LONGEST_TEXT: Final = 64 * 1024
"""Maximum number of characters of a script that are split into words; the path is looked for in all of it."""


@with_short_repr
@attrs.frozen
class TokenCall:
    """A request for a token on a command line.

    Attributes:
        how: what was recognised: `kubectl create token`, or `with …` where another program was given such words.
        argument: index of its argument.
        namespace: empty if the command does not say.
        name: the service account; empty if it is a variable or a pattern.
        terms: values by option: `audience`, `duration`, `as`, `as-group`, `bound-object-name`.
        certain: the program is known to be kubectl or oc; otherwise only the words match.

    """

    how: str
    argument: int
    namespace: str = ""
    name: str = ""
    terms: dict[str, tuple[str, ...]] = attrs.field(factory=dict, hash=False)
    certain: bool = True


def token_calls(arguments: Sequence[str], exe: str = "", /) -> Iterator[TokenCall]:
    """Yield the token requests of a command, each service account once.

    Arguments:
        arguments: the argument vector.
        exe: the program's file, where known; a link or argument 0 may have another name.

    """
    text = "".join(arguments).translate(_QUOTING).lower()
    if not any(word in text for word in ("token", "kubeconfig", "%")):
        return  # nothing below matches without one of these
    seen = set()
    for call in _calls(arguments, {_base(exe), _base(arguments[0]) if arguments else ""}, 0):
        if (call.namespace, call.name) not in seen:
            seen.add((call.namespace, call.name))
            yield call


def _calls(arguments: Sequence[str], names: set[str], depth: int) -> Iterator[TokenCall]:
    passive = not NOT_REQUESTING.isdisjoint(names)
    yield from _kubectl_calls(arguments, names, passive=passive)
    for number, argument in enumerate(arguments):
        if not passive:
            yield from (attrs.evolve(call, argument=number) for call in _path_calls(argument))
        if depth < _DEEPEST and _holds_commands(arguments, number, names, passive=passive, nested=depth > 0):
            for words in _commands(argument):
                inner = _calls(words, {_base(words[0])}, depth + 1)
                yield from (attrs.evolve(call, argument=number) for call in inner)


def _kubectl_calls(arguments: Sequence[str], names: set[str], *, passive: bool) -> Iterator[TokenCall]:
    """Look for kubectl's words: of the program itself, or of one that it starts (sudo, env, docker exec, k3s, …)."""
    starts = [number for number, word in enumerate(arguments) if number and not passive and _is_kubectl(word)]
    if any(map(_is_kubectl, names)):
        starts.append(0)
    for start in starts:
        yield from _kubectl_call(arguments, start)
    if not starts:
        for call in _kubectl_call(arguments, 0):
            if _NAME.fullmatch(call.name) or call.how.startswith("create --raw"):
                yield attrs.evolve(call, certain=False, how=f"with the words of {call.how}")


def _kubectl_call(arguments: Sequence[str], start: int) -> Iterator[TokenCall]:
    words, options = _parsed(arguments[start + 1 :])
    if "help" in options or len(words) < 1:
        return
    known = _KUBECTL.fullmatch(_base(arguments[start]))
    program = known[1] if known else "kubectl"
    verb = tuple(words[:2])
    if words[0] == "create":
        for raw in options.get("raw", ()):
            for call in _path_calls(raw):
                yield attrs.evolve(call, how=f"{program} create --raw", argument=start, terms=_terms(options))
    if verb == ("create", "token") or (verb[0] in {"sa", "serviceaccounts"} and verb[-1] in _OC):
        name = next(iter(words[2:]), "")
        namespace = next(reversed(options.get("namespace", ())), "")
        name = name.removeprefix("serviceaccount/").removeprefix("sa/")
        yield TokenCall(f"{program} {' '.join(verb)}", start, _plain(namespace), _plain(name), _terms(options))


def _parsed(arguments: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Split kubectl's arguments into words and options, in any order."""
    words: list[str] = []
    options: dict[str, tuple[str, ...]] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            words += rest if words else ()  # minikube kubectl -- create …
        elif argument.startswith("--"):
            name, mark, value = argument[2:].partition("=")
            if not mark and name in _VALUED:
                value = next(rest, "")
            options[name] = (*options.get(name, ()), value)
        elif argument.startswith("-") and len(argument) > 1:
            for name, value in _short(argument[1:], rest):
                options[name] = (*options.get(name, ()), value)
        else:
            words.append(argument)
    return words, options


def _short(letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Read `-n prod`, `-nprod`, `-n=prod`, and several letters in one."""
    for place, letter in enumerate(letters):
        if letter in _SHORT or letter == "v":
            value = letters[place + 1 :].removeprefix("=") or next(rest, "")
            yield _SHORT.get(letter, "v"), value
            return
        yield ("help" if letter == "h" else letter), ""


def _terms(options: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    wanted = ("audience", "duration", "as", "as-group", "bound-object-kind", "bound-object-name")
    return {name: options[name] for name in wanted if name in options}


def _path_calls(text: str) -> Iterator[TokenCall]:
    """Look for the path of the subresource in a URL or in a script, whatever letters are percent-encoded."""
    plain = text
    for _ in range(2):
        plain = unquote(plain) if "%" in plain else plain
    if "serviceaccounts" not in plain.lower():
        return
    while plain != (shorter := plain.replace("/./", "/")):
        plain = shorter
    for _ in range(_DEEPEST):
        plain = _STEPS_BACK.sub("", plain)
    for match in _PATH.finditer(plain):
        namespace, name = match[1] or "", match[2]
        yield TokenCall("with the path of the token subresource", 0, _plain(namespace), _plain(name))


def _plain(text: str) -> str:
    """Return a name; empty for a variable, a pattern or code in its place."""
    return text if _NAME.fullmatch(text) else ""


def _holds_commands(arguments: Sequence[str], number: int, names: set[str], *, passive: bool, nested: bool) -> bool:
    """Tell whether an argument is a script, such as after `-c`, or for ssh."""
    text = arguments[number]
    if ("$(" in text or "`" in text) and (nested or not passive):
        return True  # the shell runs what is inside, whatever program gets the result
    if passive or not any(char.isspace() for char in text):
        return False
    if number == 0:
        return nested  # passed on by another language: os.system('…')
    return bool(_RUNS_TEXT.fullmatch(arguments[number - 1])) or any(
        _base(word) in _TAKES_COMMANDS for word in (*names, *arguments[:number])
    )


def _commands(text: str) -> Iterator[list[str]]:
    """Split a script into simple commands, also where quotes do not match."""
    text = text[:_LONGEST_TEXT].replace("`", " $( ").replace("\\\n", " ").replace("\n", ";")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";()<>|&")
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # the quotes do not match: the text was cut
        words = re.sub(r"([;()<>|&])", r" \1 ", text.replace('"', " ").replace("'", " ")).split()
    command: list[str] = []
    for word in [*words, ";"]:
        if _CONTROL.issuperset(word):
            if command:
                yield command
            command = []
        else:
            command.append(word)


def _base(path: str) -> str:
    """Return the last part of a path, without a login shell's dash and the endings of Windows and deleted files."""
    return path.rpartition("/")[2].lower().removesuffix(" (deleted)").removesuffix(".exe").removeprefix("-")


def _is_kubectl(path: str) -> bool:
    return _KUBECTL.fullmatch(_base(path)) is not None
