"""What `loom validate` found: checks in sections, each with what is wrong and how to mend it."""

from __future__ import annotations

from msgspec import Struct

from loomgit.domain.values import JsonObject


class Check(Struct, frozen=True):
    """One line of the checklist; `ok` is None where it was not looked at (offline)."""

    text: str
    ok: bool | None = True
    detail: str = ""
    problems: tuple[JsonObject, ...] = ()  # the same as `detail`, each with file, line and column


class Section(Struct, frozen=True):
    """Checks under a heading."""

    title: str
    checks: tuple[Check, ...]


class Validation(Struct, frozen=True):
    """The whole checklist of one pipeline; `unreachable` when only the world kept it from valid."""

    pipeline: str
    version: str | None
    sections: tuple[Section, ...]
    unreachable: bool = False

    @property
    def problems(self) -> list[JsonObject]:
        """The problems of all checks."""
        checks = [check for section in self.sections for check in section.checks]
        return [problem for check in checks for problem in check.problems]

    @property
    def valid(self) -> bool:
        """Whether no check failed."""
        return all(check.ok is not False for section in self.sections for check in section.checks)
