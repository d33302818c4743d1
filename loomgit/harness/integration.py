"""Verdicts of integration tests: assertions about one run of the whole pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.samples import CheckResult, TestResult
from loomgit.domain.user_regex import SearchTimeout
from loomgit.harness.assertions import Answer, decide, values_in
from loomgit.harness.value_lookup import values_of_run
from loomgit.harness.verdicts import worst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.runs import Run
    from loomgit.domain.samples import Verdict
    from loomgit.domain.suites import IntegrationCase

SUCCEEDS = "the run succeeds"
# The maximum number of rejection reasons in a result, and their maximum length in characters.
SHOWN_REASONS, REASON_LENGTH = 3, 160
_VERDICTS: dict[Answer, Verdict] = {
    Answer.YES: "pass",
    Answer.NO: "fail",
    Answer.ABSENT: "fail",
    Answer.UNMEASURED: "unverified",
}


def judge(case: IntegrationCase, run: Run) -> TestResult:
    """Judge an integration test by its run. If the test has no assertions, the run must succeed.

    If the run failed for a cause outside the pipeline (no provider, no key, no disk space), the
    assertions do not matter. The verdict is then `unverified` if no record was evaluated, else
    `error`.
    """
    results = run.results
    checks = list(_checks(case, run))
    if results.status == "failed" and results.cause in ("world", "user", "stopped"):
        verdict: Verdict = "error" if results.records_evaluated else "unverified"
        lines = tuple(CheckResult(check.text, verdict, check.actual) for check in checks)
        return TestResult(case.name, verdict, lines, message=results.message)
    verdict = worst(check.verdict for check in checks)
    message = results.message if verdict != "pass" else ""
    return TestResult(case.name, verdict, tuple(_with_reasons(checks, run)), message=message)


def _with_reasons(checks: list[CheckResult], run: Run) -> Iterator[CheckResult]:
    """Yield the checks. The note of the first check that does not pass also contains the most
    frequent reasons why records were rejected."""
    common = sorted(run.results.reasons.items(), key=lambda item: -item[1])[:SHOWN_REASONS]
    reasons = [
        f"{count:,} rejected: {' '.join(reason.split())[:REASON_LENGTH]}"
        for reason, count in common
    ]
    for check in checks:
        if check.verdict == "pass":
            yield check
            continue
        yield replace(check, note="; ".join(filter(None, (check.note, *reasons))))
        reasons = []


def _checks(case: IntegrationCase, run: Run) -> Iterator[CheckResult]:
    lookup = values_of_run(run)
    for assertion in case.assertions:
        text = " ".join(assertion.text.split())
        try:
            finding = decide(assertion.tree, lookup)
        except SearchTimeout as error:
            yield CheckResult(text, "error", note=str(error))
            continue
        actual = values_in(assertion.tree, lookup)
        note = "; ".join(finding.reasons)
        yield CheckResult(text, _VERDICTS[finding.answer], actual, note=note)
    if not case.assertions:
        status = run.results.status
        yield CheckResult(SUCCEEDS, "pass" if status == "success" else "fail", status)
