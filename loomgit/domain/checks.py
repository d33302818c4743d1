"""The results of `loom validate`: checks of pipelines and apps, each with its problems."""

from __future__ import annotations

from msgspec import Struct

from loomgit.domain.values import JsonObject


class ValidationCheck(Struct, frozen=True):
    """One line of the checklist. `ok` is None if the check was skipped, because Loom is offline."""

    text: str
    ok: bool | None = True
    detail: str = ""
    problems: tuple[JsonObject, ...] = ()  # with the keys file, line, column, message, hint


class CheckSection(Struct, frozen=True):
    """A group of checks under one heading."""

    title: str
    checks: tuple[ValidationCheck, ...]


class ValidationResult(Struct, frozen=True):
    """The checklist of one pipeline.

    `unreachable` is true if there are problems and all of them are failures outside Loom, such as a
    database that does not answer.
    """

    pipeline: str
    version: str | None
    sections: tuple[CheckSection, ...]
    unreachable: bool = False

    @property
    def problems(self) -> list[JsonObject]:
        """The problems of all checks."""
        checks = [check for section in self.sections for check in section.checks]
        return [problem for check in checks for problem in check.problems]

    @property
    def valid(self) -> bool:
        """Whether no check failed. Skipped checks are ignored."""
        return all(check.ok is not False for section in self.sections for check in section.checks)


class AppValidation(Struct, frozen=True):
    """The checklist of one app.

    `unreachable` is true if there are problems and all of them are failures outside Loom, such as a
    disk that cannot be read.
    """

    app: str
    checks: tuple[ValidationCheck, ...]
    unreachable: bool = False

    @property
    def problems(self) -> list[JsonObject]:
        """The problems of all checks."""
        return [problem for check in self.checks for problem in check.problems]

    @property
    def valid(self) -> bool:
        """Whether no check failed."""
        return all(check.ok is not False for check in self.checks)
