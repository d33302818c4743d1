"""Serializes the outcomes of prompt tests in pytest's reports, and decides the tests' status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

LETTERS = {"inconclusive": ("i", "INCONCLUSIVE"), "unverified": ("u", "UNVERIFIED")}
SKIPPED = "Skipped: unverified: "  # the start of the skip message of an unverified test


class ReportHooks:
    """The hooks that use only pytest's report of a test.

    `report.loom["entry"]` is the outcome of the test.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(
        self,
    ) -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
        """Convert the outcome to JSON types, for pytest-xdist and pytest-reportlog."""
        data = yield
        if data is not None and "loom" in data:
            data["loom"] = {**data["loom"], "entry": data["loom"]["entry"].to_plain()}
        return data

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self) -> Generator[None, Any, Any]:
        """Convert JSON types back to an outcome."""
        from loomgit.harness.outcome import TestOutcome  # noqa: PLC0415 - only for reports of workers

        report = yield
        if hasattr(report, "loom"):
            report.loom["entry"] = TestOutcome.from_plain(report.loom["entry"])
        return report

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Report inconclusive and unverified tests as neither passed nor failed."""
        if report.when != "call" or report.failed or not hasattr(report, "loom"):
            return None
        if report.skipped and SKIPPED not in str(report.longrepr):
            return None  # Loom did not skip this test, so pytest reports it
        verdict: str = report.loom["entry"].verdict
        return (verdict, *LETTERS[verdict]) if verdict in LETTERS else None
