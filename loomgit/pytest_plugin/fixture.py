"""The fixture `loom`, for prompt tests that are written in Python.

def test_refund(loom):
    result = loom.pipeline("triage").run_case({"text": "I want my money back"}, samples=3)
    assert result.output["queue"] == "refunds"
    assert min(result.scores) > 0.8
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct, field

from loomgit.domain.samples import CaseSamples, CheckResult, TestResult
from loomgit.errors import LoomError
from loomgit.harness.explain import explain
from loomgit.harness.outcome import TestOutcome
from loomgit.workflows.testing.judge import TestJudge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.samples import Verdict
    from loomgit.domain.values import Json, JsonObject


SHOWN = 3  # a failed test shows the replies to its last 3 cases


class LoomFixture(Struct):
    """The value of the fixture `loom` in one Python test.

    `model` and `samples` are options of the session. If they are set, they replace the model and
    the number of samples that the test gives. `asked` has an entry for each case that the test ran:
    the pipeline's name, the model, and the samples of the case.
    """

    judge: TestJudge
    nodeid: str
    marker: pytest.Mark | None = None
    model: str | None = None
    samples: int | None = None
    asked: list[tuple[str, str | None, CaseSamples]] = field(default_factory=list)
    unmeasured: str = ""
    checks: list[CheckResult] = field(default_factory=list)

    def pipeline(self, name: str | None = None, *, model: str | None = None) -> PipelineUnderTest:
        """Return the pipeline `name`.

        If `name` is None, the test's marker `loom(pipeline=...)` gives the name. Fails the test if
        the pipeline is invalid or does not exist.
        """
        __tracebackhide__ = True
        if name is None:
            marked = self.marker.kwargs.get("pipeline") if self.marker else None
            if marked is None:
                pytest.fail(
                    "no pipeline: use loom.pipeline(name) or @pytest.mark.loom(pipeline=name)",
                    pytrace=False,
                )
            name = str(marked)
        model = self.model or model
        with _without_traceback():
            self.judge.version(name, model)
        return PipelineUnderTest(self, name, model)

    def __repr__(self) -> str:
        return "loom"

    def replies(self) -> str:
        """Return the replies to the last cases as text for the report of a failed test.

        The latest case is first.
        """
        cases = [case for *_, case in self.asked[-SHOWN:]]
        pairs = tuple((case, sample) for case in reversed(cases) for sample in case.samples)
        return "\n".join(explain(TestResult("", "fail", failures=pairs))[2:])

    def run_case(self, case: Mapping[str, Json], *, samples: int = 1) -> CaseResult:
        """Call `PipelineUnderTest.run_case` for the pipeline of the test's marker."""
        __tracebackhide__ = True
        return self.pipeline().run_case(case, samples=samples)

    def assert_no_regression(self, *, max_drop: float = 0.02, baseline: str | None = None) -> None:
        """Call `PipelineUnderTest.assert_no_regression` for the pipeline of the test's marker."""
        __tracebackhide__ = True
        self.pipeline().assert_no_regression(max_drop=max_drop, baseline=baseline)

    def entry(self, report: pytest.TestReport) -> TestOutcome | None:
        """Return the outcome of this test, or None if the test ran no case.

        A test that fails as expected (xfail) has the verdict `pass`. A test that skips itself has
        the verdict `unverified`, and its message is the reason for the skip.
        """
        if not self.asked:
            return None
        pipeline, model, _ = self.asked[0]
        cases = [case for name, other, case in self.asked if (name, other) == (pipeline, model)]
        file, _, name = self.nodeid.partition("::")
        verdict, message = self._verdict(report)
        return TestOutcome(
            file=file,
            name=name,
            kind="python",
            pipeline=pipeline,
            verdict=verdict,
            message=message,
            checks=tuple(self.checks),
            model=model,
            fingerprint=self.judge.version(pipeline, model).fingerprint,
            cases=tuple(
                (c.id, c.key, c.definition, tuple(s.index for s in c.samples)) for c in cases
            ),
            blocks=report.failed,
            project=self.judge.project,
        )

    def _verdict(self, report: pytest.TestReport) -> tuple[Verdict, str]:
        if self.unmeasured:
            return "unverified", self.unmeasured
        if report.passed:
            return "pass", ""
        if report.failed:
            return "fail", ""
        if hasattr(report, "wasxfail"):
            reason = f": {report.wasxfail}" if report.wasxfail else ""
            return "pass", f"failed as expected{reason}"
        *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("",)
        return "unverified", reason.removeprefix("Skipped: ")


class PipelineUnderTest(Struct, frozen=True):
    """One pipeline that a Python test runs."""

    fixture: LoomFixture
    name: str
    model: str | None = None

    def __repr__(self) -> str:
        return f"loom.pipeline({self.name!r})"

    def run_case(self, case: Mapping[str, Json], *, samples: int = 1) -> CaseResult:
        """Run the pipeline on one input and evaluate the replies. The load stage does not run.

        If no call returns a reply, the test is unverified and is skipped. If `--loom-strict` is
        set, or the budget refused a call, the test fails instead.
        """
        __tracebackhide__ = True
        fixture = self.fixture
        identity = f"{fixture.nodeid}[{len(fixture.asked) + 1}]"
        samples = fixture.samples or samples
        with _without_traceback():
            result = fixture.judge.draw_case(self.name, self.model, identity, dict(case), samples)
        fixture.asked.append((self.name, self.model, result))
        if all(sample.lost for sample in result.samples):
            fixture.unmeasured = f"{self.name}: {result.samples[0].failure}"
            refused = any(sample.trouble == "budget" for sample in result.samples)
            if fixture.judge.options.strict or refused:
                pytest.fail(f"unverified: {fixture.unmeasured}", pytrace=False)
            pytest.skip(f"unverified: {fixture.unmeasured}")
        return CaseResult(result)

    def assert_no_regression(self, *, max_drop: float = 0.02, baseline: str | None = None) -> None:
        """Fail the test if the test's cases have lower scores than in the baseline.

        The test fails if a mean score drops significantly and by at least `max_drop`.

        If the baseline has no results for these cases, or if there are too few cases, the
        comparison is inconclusive. Then the session prints a warning or, if `--loom-strict` is set,
        the test fails.
        """
        __tracebackhide__ = True
        fixture = self.fixture
        cases = [case for name, _, case in fixture.asked if name == self.name]
        with _without_traceback():
            regression = fixture.judge.check_regression(
                self.name, self.model, cases, max_drop=max_drop, baseline=baseline
            )
        if regression.worse:
            pytest.fail(regression.worse, pytrace=False)
        if regression.unknown:
            text = f"{self.name} is no worse than the baseline"
            fixture.checks.append(
                CheckResult(text, "inconclusive", note=regression.unknown, warns=True)
            )
            if fixture.judge.options.strict:
                pytest.fail(f"inconclusive: {text}: {regression.unknown}", pytrace=False)


@contextmanager
def _without_traceback() -> Iterator[None]:
    """Context in which a LoomError fails the test with a message, without a traceback."""
    __tracebackhide__ = True
    try:
        yield
    except LoomError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        pytest.fail(f"{error.message}{hint}", pytrace=False)


class CaseResult(Struct, frozen=True):
    """The replies to one case, and their evaluations."""

    case: CaseSamples

    def __repr__(self) -> str:
        """Return the text that pytest shows if an assertion about the result fails.

        The score comes first, because pytest cuts long text.
        """
        failures = "; ".join(sample.failure for sample in self.case.samples if sample.failure)
        outputs = ", ".join(map(str, self.outputs))
        failed = f", failed: {failures}" if failures else ""
        return f"<case {self.case.id}: score {self.score:.3g}, {outputs}{failed}>"

    @property
    def outputs(self) -> list[JsonObject]:
        """The fields of each reply."""
        return [sample.output for sample in self.case.samples]

    @property
    def output(self) -> JsonObject:
        """The fields of the first reply. Fails the test if that reply is unusable."""
        __tracebackhide__ = True
        first = self.case.samples[0]
        if first.trouble == "product" and not first.output:
            pytest.fail(f"{self.case.id}: no usable reply: {first.failure}", pytrace=False)
        return first.output

    @property
    def scores(self) -> list[float]:
        """The evaluation scores in [0, 1] of the replies that were evaluated."""
        return [sample.score for sample in self.case.samples if sample.score is not None]

    @property
    def score(self) -> float:
        """The mean of `scores`; NaN if no reply has a score."""
        return sum(self.scores) / len(self.scores) if self.scores else float("nan")

    @property
    def passed(self) -> bool:
        """Whether every reply passes the pipeline's gate."""
        return all(sample.passed for sample in self.case.samples)

    @property
    def cost(self) -> float | None:
        """The cost in USD; None if a model's price is unknown."""
        costs = [sample.cost for sample in self.case.samples]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def reasons(self, evaluator: str) -> list[str]:
        """Return the reasons that an evaluator gave, one for each reply that it evaluated."""
        judgements = (sample.judgements.get(evaluator) for sample in self.case.samples)
        return [judgement.reason for judgement in judgements if judgement is not None]
