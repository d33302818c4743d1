"""Test files as pytest sees them: a file, its groups, an item a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from loomgit.domain.outside import for_screen
from loomgit.domain.suites import Regression, group_of
from loomgit.errors import LoomError, ProblemsFound
from loomgit.harness.explain import explain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.samples import TestResult
    from loomgit.domain.suites import AnyTest, Suite
    from loomgit.harness.entry import Entry
    from loomgit.plugin import LoomPlugin
    from loomgit.sessions.trial import Judged

GROUPS = ("unit_tests", "distributional_tests", "integration_tests")
MARKS = {
    "unit": pytest.mark.loom_unit,
    "distributional": pytest.mark.loom_distributional,
    "integration": pytest.mark.loom_integration,
}


class Failed(Exception):
    """A prompt test's verdict is no; the text is what a person needs to know."""


class SuiteFile(pytest.File):
    """A test file."""

    def __init__(self, *, plugin: LoomPlugin, **rest: Any) -> None:  # noqa: ANN401 - pytest's own
        super().__init__(**rest)
        self._plugin = plugin

    def collect(self) -> Iterator[pytest.Collector]:
        """The groups of the file that have tests."""
        suite = self._plugin.parse(self.path)
        for group in GROUPS:
            tests = getattr(suite, group)
            if tests:
                name = group.removesuffix("_tests")
                yield Tests.from_parent(
                    self, name=name, suite=suite, tests=tests, plugin=self._plugin
                )

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Any = None,  # noqa: ANN401 - pytest's own words
    ) -> Any:  # noqa: ANN401 - text, or what pytest makes of it
        """The faults of the file, a line each."""
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


class Tests(pytest.Collector):
    """The unit, distributional or integration tests of a file."""

    __test__ = False  # no test of the project that pytest runs in

    def __init__(
        self,
        *,
        suite: Suite,
        tests: tuple[AnyTest, ...],
        plugin: LoomPlugin,
        **rest: Any,  # noqa: ANN401 - pytest's own
    ) -> None:
        super().__init__(**rest)
        self._suite = suite
        self._tests = tests
        self._plugin = plugin

    def collect(self) -> Iterator[pytest.Item]:
        """An item per test."""
        for test in self._tests:
            yield LoomItem.from_parent(
                self, name=test.name, suite=self._suite, test=test, plugin=self._plugin
            )


class LoomItem(pytest.Item):
    """One prompt test; `judged` is its outcome, once it ran."""

    def __init__(self, *, suite: Suite, test: AnyTest, plugin: LoomPlugin, **rest: Any) -> None:  # noqa: ANN401
        super().__init__(**rest)
        self.suite = suite
        self.test = test
        self.judged: Judged | None = None
        self._plugin = plugin
        self.add_marker(MARKS[group_of(test)])
        if isinstance(test, Regression):
            self.add_marker(pytest.mark.loom_regression)

    def runtest(self) -> None:
        """Judge it. Raises Failed, or skips where nothing could be measured."""
        judged = self.judged = self._plugin.judge(self)
        self.user_properties += _properties(judged.entry)
        if judged.entry.blocks:
            head, *lines = explain(judged.result, judged.prompt)
            text = "\n".join((_headline(judged.result) or head, *lines))
            raise Failed(for_screen(text))
        if judged.entry.verdict == "unverified":
            pytest.skip(for_screen(f"unverified: {judged.entry.message}"))

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Any = None,  # noqa: ANN401 - pytest's own words
    ) -> Any:  # noqa: ANN401 - text, or what pytest makes of it
        """What went wrong, without a traceback of ours."""
        if isinstance(excinfo.value, Failed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the test stands in its file."""
        return self.path, (self.test.place.line or 1) - 1, self.nodeid.partition("::")[2]


def _headline(result: TestResult) -> str:
    """The first line of a failure, which is all that pytest's own summary shows, behind the test's
    name; empty where a message says it already."""
    bad = next((check for check in result.checks if check.verdict != "pass"), None)
    if result.message or bad is None:
        return ""
    actual = f" (actual: {bad.actual})" if bad.actual else ""
    word = "" if result.verdict == "fail" else f"{result.verdict}: "
    return f"{word}{bad.text}{actual}"


def _properties(entry: Entry) -> list[tuple[str, object]]:
    """What JUnit's XML says besides."""
    known = {"verdict": entry.verdict, "score": entry.score, "cost": entry.cost}
    found: list[tuple[str, object]] = [
        (f"loom_{name}", value) for name, value in known.items() if value is not None
    ]
    return found + [(f"loom: {check.text}", str(check.actual)) for check in entry.checks]
