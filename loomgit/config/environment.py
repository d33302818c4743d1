"""Environment variables, from the process and from a `.env` file.

A `${NAME}` reference in a setting is resolved only when Loom uses the setting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loomgit.config.project_files import REFERENCE, decode
from loomgit.domain.place import Place, Problem
from loomgit.domain.safe_text import remember, remember_address
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import ProblemsFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from loomgit.domain.settings import Secret

# One assignment; a quoted value can span several lines. Loom does not use python-dotenv, because
# python-dotenv expands `$NAME` in values (which breaks passwords) and accepts malformed lines.
ASSIGNMENT = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*
        (?:'(?P<single>[^']*)'[ \t]*(?:\#[^\n]*)?
          |"(?P<double>(?:[^"\\]|\\.)*)"[ \t]*(?:\#[^\n]*)?
          |(?P<bare>(?!['"])[^\n]*?)(?:[ \t]+\#[^\n]*)?[ \t]*
        )(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|CREDENTIALS?|PAT)(?:_|$)",
    re.IGNORECASE,
)
IGNORED = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Environment:
    """Environment variables. The `repr` does not show their values."""

    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_project(cls, root: Path, os_environ: Mapping[str, str]) -> Environment:
        """Combine the variables of the process with the variables of the project's `.env`.

        The file `.env` may be absent. If the process and `.env` set the same variable, the value of
        the process applies; if that value is empty, the value in `.env` applies. Raises
        ProblemsFound if `.env` is not UTF-8 or has malformed lines, and UserError if `.env` cannot
        be read.
        """
        path = root / ".env"
        if not path.is_file():
            return cls.of(os_environ)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f".env: cannot be read: {error.strerror}") from error
        process_values = {name: value for name, value in os_environ.items() if value}
        return cls.of({**os_environ, **parse_env(decode(data, ".env"), ".env"), **process_values})

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Environment:
        """Create an environment with these variables, and register their secrets.

        Loom hides registered secrets in its output. A value is a secret if its variable has a name
        such as `OPENAI_API_KEY`. In a URL, the password and parameters such as `token` are secrets.
        """
        for name, value in variables.items():
            if SECRET_NAME.search(name):
                remember(value)
            elif "://" in value:
                remember_address(value)
        return cls(dict(variables))

    def reveal(self, secret: Secret) -> str:
        """Return the text of a secret, with every `${NAME}` replaced by the variable's value.

        `${NAME:-default}` becomes the default if NAME is unset or empty. Raises UserError if a
        variable is unset and the reference has no default. The error contains the variable's name
        and the position of the reference. Errors never contain values.
        """

        def resolve(reference: re.Match[str]) -> str:
            name, default = reference[1], reference[2]
            value = self.variables.get(name)
            if default is not None:
                return value or default
            if value is None:
                hint = did_you_mean(name, self.variables) or f"set {name}, or add it to .env"
                message = f"{secret.place}: the environment variable {name} is not set"
                raise UserError(message, hint=hint)
            return value

        return REFERENCE.sub(resolve, secret.template)


def parse_env(text: str, path: str) -> dict[str, str]:
    """Parse `NAME=value` lines. They can contain comments, quotes and `export`.

    If a name occurs several times, the last value applies. Escapes such as a backslash before `n`
    have an effect only in double quotes. Raises ProblemsFound for malformed lines. The messages do
    not contain the text of these lines, because it may be a secret.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    variables: dict[str, str] = {}
    problems: list[Problem] = []
    for offset, assignment in _assignments(text):
        if assignment is None:
            line = text.count("\n", 0, offset) + 1
            hint = "close the quote; put a value that begins with a quote in quotes"
            problems.append(Problem(Place(path, line), "expected NAME=value", hint))
            continue
        value = assignment["single"] if assignment["single"] is not None else assignment["bare"]
        if assignment["double"] is not None:
            value = re.sub(
                r"\\(.)",
                lambda escape: ESCAPES.get(escape[1], escape[1]),
                assignment["double"],
                flags=re.DOTALL,
            )
        variables[assignment["name"]] = value
    if problems:
        raise ProblemsFound(problems)
    return variables


def _assignments(text: str) -> Iterator[tuple[int, re.Match[str] | None]]:
    """Yield `(offset, match)` for each assignment, and `(offset, None)` for a malformed line."""
    offset = 0
    while offset < len(text):
        ignored = IGNORED.match(text, offset)
        if ignored:
            offset = ignored.end()
            continue
        assignment = ASSIGNMENT.match(text, offset)
        yield offset, assignment
        line_end = text.find("\n", offset) + 1 or len(text)
        offset = assignment.end() if assignment else line_end
