"""A group of commands that runs one of its commands if the user names no command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.domain.suggestions import nearest

if TYPE_CHECKING:
    from typing import Any


class DefaultGroup(click.Group):
    """A group that passes its arguments to the command `default` if they name no other command.

    If `takes_argument` is false, the first argument must be an option or the name of a command.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - those of click.Group
        default: str,
        takes_argument: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*arguments, **options)
        self._default = default
        self._takes_argument = takes_argument

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the name of the default command if the first argument is no command."""
        first = args[0] if args else ""
        if first and not first.startswith("-") and not self._takes_argument:
            return super().parse_args(ctx, args)
        if first not in self.commands and first not in ctx.help_option_names:
            # A word like a command is a misspelt command, if more arguments follow.
            similar = None if first.startswith("-") else nearest(first, self.commands)
            if similar is not None and len(args) > 1 and not args[1].startswith("-"):
                raise click.UsageError(f"No such command '{first}'. Did you mean '{similar}'?", ctx)
            args = [self._default, *args]
        return super().parse_args(ctx, args)
