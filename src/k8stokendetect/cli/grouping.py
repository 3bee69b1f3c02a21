# SPDX-License-Identifier: Apache-2.0
"""Lists a command's options under titles in `--help`, in the order in which a user needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import click

Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

READ: Final = "What to read"
LISTEN: Final = "Who may post, and where"
FIND: Final = "What to look for"
WRITE: Final = "What to write"
LEAVE_OUT: Final = "What to leave out"
SHOW: Final = "How to show it"
FOLLOW: Final = "Follow a growing log"
SEND: Final = "Alerts and state"
OTHER: Final = "Other options"

TITLES: Final = (LISTEN, READ, FIND, WRITE, LEAVE_OUT, SHOW, FOLLOW, SEND, OTHER)
"""In the order in which they are printed."""

MOST_UNGROUPED: Final = 10
"""Maximum number of options that a command lists under one title."""


class GroupedOption(click.Option):
    """An option with a title to list it under.

    Arguments:
        group: one of `TITLES`.
        given: what `click.Option` takes.

    """

    def __init__(self, *given: Any, group: str, **more: Any) -> None:
        super().__init__(*given, **more)
        self.group = group


def option(*names: str, group: str, **more: Any) -> Option:
    """Return the decorator that adds an option, as `click.option` does.

    Arguments:
        names: of the option, and of its argument.
        group: one of `TITLES`.
        more: what `click.Option` takes.

    """
    return click.option(*names, cls=GroupedOption, group=group, **more)


class Command(click.Command):
    """A command that lists its options by group, unless there are few of them."""

    def groups(self, context: click.Context, /) -> dict[str, list[click.Option]]:
        """Return the options by title, in the order of the titles; what has no title is under `Options`."""
        options = [one for one in self.get_params(context) if isinstance(one, click.Option) and not one.hidden]
        found: dict[str, list[click.Option]] = {title: [] for title in ("Options", *TITLES)}
        is_grouped = len(options) > MOST_UNGROUPED
        for one in options:
            title = OTHER if "--help" in one.opts else getattr(one, "group", "Options")
            found[title if is_grouped else "Options"].append(one)
        return {title: listed for title, listed in found.items() if listed}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them, a section a title."""
        for title, options in self.groups(ctx).items():
            with formatter.section(title):
                formatter.write_dl([record for one in options if (record := one.get_help_record(ctx)) is not None])


class Commands(click.Group):
    """A group whose commands list their options by group."""

    command_class = Command
