"""The pytest collectors and items of test files: a file, its groups, and one item per test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from loomgit.domain.safe_text import for_screen
from loomgit.domain.suites import Regression, group_of
from loomgit.errors import LoomError, ProblemsFound
from loomgit.harness.explain import explain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.samples import TestResult
    from loomgit.domain.suites import AnyTest, Suite
    from loomgit.harness.outcome import TestOutcome
    from loomgit.pytest_plugin.session import PromptTestSession
    from loomgit.workflows.testing.judge import JudgedTest

GROUPS = ("unit_tests", "distributional_tests", "integration_tests")
MARKS = {
    "unit": pytest.mark.loom_unit,
    "distributional": pytest.mark.loom_distributional,
    "integration": pytest.mark.loom_integration,
}


class PromptTestFailed(Exception):
    """A prompt test failed. The message explains the failure to the user."""


class SuiteFile(pytest.File):
    """Collects the prompt tests of a YAML test file."""

    def __init__(self, *, loom: PromptTestSession, **rest: Any) -> None:  # noqa: ANN401 - signature of pytest
        super().__init__(**rest)
        self._loom = loom

    def collect(self) -> Iterator[pytest.Collector]:
        """Yield the groups that contain tests."""
        suite = self._loom.parse(self.path)
        for group in GROUPS:
            tests = getattr(suite, group)
            if tests:
                name = group.removesuffix("_tests")
                yield TestGroup.from_parent(
                    self, name=name, suite=suite, tests=tests, loom=self._loom
                )

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Any = None,  # noqa: ANN401 - signature of pytest
    ) -> Any:  # noqa: ANN401 - text or a representation of pytest
        """Return the problems of the file, one per line."""
        del style
        error = excinfo.value
        if isinstance(error, ProblemsFound):
            return "\n".join(_line(str(p.place), p.message, p.hint) for p in error.problems)
        if isinstance(error, LoomError):
            return _line("", error.message, error.hint)
        return super().repr_failure(excinfo)


def _line(place: str, message: str, hint: str | None) -> str:
    line = f"{place}: {message}" if place else message
    return for_screen(f"{line}\n  hint: {hint}" if hint else line)


class TestGroup(pytest.Collector):
    """The unit, distributional or integration tests of a file."""

    __test__ = False  # otherwise pytest collects this class, because its name starts with "Test"

    def __init__(
        self,
        *,
        suite: Suite,
        tests: tuple[AnyTest, ...],
        loom: PromptTestSession,
        **rest: Any,  # noqa: ANN401 - signature of pytest
    ) -> None:
        super().__init__(**rest)
        self._suite = suite
        self._tests = tests
        self._loom = loom

    def collect(self) -> Iterator[pytest.Item]:
        """Yield one item per test."""
        for test in self._tests:
            yield LoomItem.from_parent(
                self, name=test.name, suite=self._suite, test=test, loom=self._loom
            )


class LoomItem(pytest.Item):
    """One prompt test. `judged` is the outcome, or None before the test runs."""

    def __init__(
        self,
        *,
        suite: Suite,
        test: AnyTest,
        loom: PromptTestSession,
        **rest: Any,  # noqa: ANN401 - signature of pytest
    ) -> None:
        super().__init__(**rest)
        self.suite = suite
        self.test = test
        self.judged: JudgedTest | None = None
        self._loom = loom
        self.add_marker(MARKS[group_of(test)])
        if isinstance(test, Regression):
            self.add_marker(pytest.mark.loom_regression)

    def runtest(self) -> None:
        """Judge the test. Raises PromptTestFailed. An unverified test is skipped."""
        judged = self.judged = self._loom.judge(self.path, self.suite, self.test)
        self.user_properties += _properties(judged.outcome)
        if judged.outcome.blocks:
            head, *lines = explain(judged.result, judged.prompt)
            text = "\n".join((_headline(judged.result) or head, *lines))
            raise PromptTestFailed(for_screen(text))
        if judged.outcome.verdict == "unverified":
            pytest.skip(for_screen(f"unverified: {judged.outcome.message}"))

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Any = None,  # noqa: ANN401 - signature of pytest
    ) -> Any:  # noqa: ANN401 - text or a representation of pytest
        """Return the message of the failure, without a traceback."""
        if isinstance(excinfo.value, PromptTestFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the path, the zero-based line, and the name of the test."""
        return self.path, (self.test.place.line or 1) - 1, self.nodeid.partition("::")[2]


def _headline(result: TestResult) -> str:
    """Return the first line of a failure report: the first check that did not pass.

    pytest's summary shows only this line. If the result has a message, or all checks passed, return
    an empty string.
    """
    failed = next((check for check in result.checks if check.verdict != "pass"), None)
    if result.message or failed is None:
        return ""
    actual = f" (actual: {failed.actual})" if failed.actual else ""
    prefix = "" if result.verdict == "fail" else f"{result.verdict}: "
    return f"{prefix}{failed.text}{actual}"


def _properties(entry: TestOutcome) -> list[tuple[str, object]]:
    """Return the test's properties. Pytest writes them to a JUnit XML report."""
    values = {"verdict": entry.verdict, "score": entry.score, "cost": entry.cost}
    properties: list[tuple[str, object]] = [
        (f"loom_{name}", value) for name, value in values.items() if value is not None
    ]
    return properties + [(f"loom: {check.text}", str(check.actual)) for check in entry.checks]
