"""Verdicts of integration tests: assertions about one run of the whole pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.patterns import TooSlow
from loomgit.domain.samples import Check, TestResult
from loomgit.harness.assertions import Answer, decide, values_in
from loomgit.harness.facts import facts_of_run
from loomgit.harness.verdicts import worst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.runs import Run
    from loomgit.domain.samples import Verdict
    from loomgit.domain.suites import IntegrationCase

SUCCEEDS = "the run succeeds"
SHOWN, WIDTH = 3, 160  # reasons, and characters of each
_VERDICTS: dict[Answer, Verdict] = {
    Answer.YES: "pass",
    Answer.NO: "fail",
    Answer.ABSENT: "fail",
    Answer.UNMEASURED: "unverified",
}


def judge(case: IntegrationCase, run: Run) -> TestResult:
    """The verdict on a run; a test without assertions asks that it succeeds.

    A run that was ended from outside (no provider, no key, no disk) before a single record was
    judged says nothing: `unverified`. One that ended so later is an `error`, whatever the
    assertions make of the rest.
    """
    results = run.results
    checks = list(_checks(case, run))
    if results.status == "failed" and results.cause in ("world", "user", "stopped"):
        verdict: Verdict = "error" if results.records_evaluated else "unverified"
        lines = tuple(Check(check.text, verdict, check.actual) for check in checks)
        return TestResult(case.name, verdict, lines, message=results.message)
    verdict = worst(check.verdict for check in checks)
    message = results.message if verdict != "pass" else ""
    return TestResult(case.name, verdict, tuple(_reasoned(checks, run)), message=message)


def _reasoned(checks: list[Check], run: Run) -> Iterator[Check]:
    """The lines, the first that does not hold with why records were rejected."""
    common = sorted(run.results.reasons.items(), key=lambda item: -item[1])[:SHOWN]
    why = [f"{count:,} rejected: {' '.join(reason.split())[:WIDTH]}" for reason, count in common]
    for check in checks:
        if check.verdict != "pass" and why:
            check, why = replace(check, note="; ".join(filter(None, (check.note, *why)))), []  # noqa: PLW2901 - the same line
        yield check


def _checks(case: IntegrationCase, run: Run) -> Iterator[Check]:
    facts = facts_of_run(run)
    for assertion in case.assertions:
        text = " ".join(assertion.text.split())
        try:
            finding = decide(assertion.tree, facts)
        except TooSlow as error:
            yield Check(text, "error", note=str(error))
            continue
        actual = values_in(assertion.tree, facts)
        note = "; ".join(finding.reasons)
        yield Check(text, _VERDICTS[finding.answer], actual, note=note)
    if not case.assertions:
        status = run.results.status
        yield Check(SUCCEEDS, "pass" if status == "success" else "fail", status)
