"""Variables of the environment and of a `.env` file, revealed at the moment of use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loomgit.config.text import REFERENCE, decode
from loomgit.domain.outside import remember, remember_address
from loomgit.domain.place import Place, Problem
from loomgit.domain.words import did_you_mean
from loomgit.errors import ProblemsFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from loomgit.domain.settings import Secret

# One assignment; a quoted value may run over several lines. Not python-dotenv: it is no dependency
# of ours, expands `$NAME` in values (which breaks passwords) and lets a damaged line pass.
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
    """Names and values; it never shows a value."""

    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_project(cls, root: Path, os_environ: Mapping[str, str]) -> Environment:
        """The process's variables over those of the project's `.env`, where there is one; an empty
        variable of the process counts as not set.

        Raises ProblemsFound with the lines of `.env` that are no assignments.
        """
        path = root / ".env"
        if not path.is_file():
            return cls.of(os_environ)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f".env: cannot be read: {error.strerror}") from error
        given = {name: value for name, value in os_environ.items() if value}
        return cls.of({**os_environ, **parse_env(decode(data, ".env"), ".env"), **given})

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Environment:
        """These variables; the values of those that are named as secrets are hidden from now on."""
        for name, value in variables.items():
            if SECRET_NAME.search(name):
                remember(value)
            elif "://" in value:
                remember_address(value)
        return cls(dict(variables))

    def reveal(self, secret: Secret) -> str:
        """The text with every `${NAME}` replaced.

        `${NAME:-default}` has its default where NAME is not set, or empty. Raises UserError with
        the name and the place that wants it; no value is ever in an error.
        """

        def value(reference: re.Match[str]) -> str:
            name, default = reference[1], reference[2]
            found = self.variables.get(name)
            if default is not None:
                return found or default
            if found is None:
                hint = did_you_mean(name, self.variables) or f"set {name}, or write it into .env"
                message = f"{secret.place}: the environment variable {name} is not set"
                raise UserError(message, hint=hint)
            return found

        return REFERENCE.sub(value, secret.template)


def parse_env(text: str, path: str) -> dict[str, str]:
    """Read `NAME=value` lines: comments, quotes, `export`; the last of two equal names wins.

    Escapes mean something between double quotes only. Raises ProblemsFound, without the text of
    the lines at fault: it may be a secret.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    variables: dict[str, str] = {}
    problems: list[Problem] = []
    for offset, found in _lines(text):
        if found is None:
            line = text.count("\n", 0, offset) + 1
            hint = "close the quote, or quote a value that begins with one"
            problems.append(Problem(Place(path, line), "expected NAME=value", hint))
            continue
        value = found["single"] if found["single"] is not None else found["bare"]
        if found["double"] is not None:
            value = re.sub(
                r"\\(.)",
                lambda escape: ESCAPES.get(escape[1], escape[1]),
                found["double"],
                flags=re.DOTALL,
            )
        variables[found["name"]] = value
    if problems:
        raise ProblemsFound(problems)
    return variables


def _lines(text: str) -> Iterator[tuple[int, re.Match[str] | None]]:
    """Each assignment, or None where a line is none."""
    offset = 0
    while offset < len(text):
        ignored = IGNORED.match(text, offset)
        if ignored:
            offset = ignored.end()
            continue
        found = ASSIGNMENT.match(text, offset)
        yield offset, found
        end = text.find("\n", offset) + 1 or len(text)
        offset = found.end() if found else end
