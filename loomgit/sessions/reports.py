"""How the outcomes of prompt tests travel on pytest's reports, and what pytest calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

LETTERS = {"inconclusive": ("i", "INCONCLUSIVE"), "unverified": ("u", "UNVERIFIED")}
SKIPPED = "Skipped: unverified: "  # how pytest begins what nobody could measure


class ReportHooks:
    """The hooks of the plugin that need nothing but a report; its outcome is in `report.loom`."""

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(
        self,
    ) -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
        """Let the outcome travel in JSON's types (pytest-xdist, pytest-reportlog)."""
        data = yield
        if data is not None and "loom" in data:
            data["loom"] = {**data["loom"], "entry": data["loom"]["entry"].to_plain()}
        return data

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self) -> Generator[None, Any, Any]:
        """What arrives is what was sent."""
        from loomgit.harness.entry import Entry  # noqa: PLC0415 - only workers send reports

        report = yield
        if hasattr(report, "loom"):
            report.loom["entry"] = Entry.from_plain(report.loom["entry"])
        return report

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Inconclusive and unverified tests are neither passed nor failed."""
        if report.when != "call" or report.failed or not hasattr(report, "loom"):
            return None
        if report.skipped and SKIPPED not in str(report.longrepr):
            return None  # by the test's own word, which pytest tells
        verdict: str = report.loom["entry"].verdict
        return (verdict, *LETTERS[verdict]) if verdict in LETTERS else None
