"""The fixture `loom`: prompt tests written in Python.

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

from loomgit.domain.samples import CaseSamples, Check, TestResult
from loomgit.errors import LoomError
from loomgit.harness.entry import Entry
from loomgit.harness.explain import explain
from loomgit.sessions.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.samples import Verdict
    from loomgit.domain.values import Json, JsonObject


SHOWN = 3  # cases that a failure shows, the last ones


class LoomFixture(Struct):
    """What one Python test asks of pipelines; its cases are kept with the session's run.

    `model` and `samples` are the invocation's word, which goes before the test's own.
    """

    trial: Trial
    nodeid: str
    marker: pytest.Mark | None = None
    model: str | None = None
    samples: int | None = None
    asked: list[tuple[str, str | None, CaseSamples]] = field(default_factory=list)
    unmeasured: str = ""
    checks: list[Check] = field(default_factory=list)

    def pipeline(self, name: str | None = None, *, model: str | None = None) -> PipelineUnderTest:
        """A pipeline by name; None: that of the marker `loom(pipeline=...)`.

        Fails the test where it cannot be used.
        """
        __tracebackhide__ = True
        if name is None:
            given = self.marker.kwargs.get("pipeline") if self.marker else None
            if given is None:
                pytest.fail(
                    "which pipeline? loom.pipeline(name), or @pytest.mark.loom(pipeline=name)",
                    pytrace=False,
                )
            name = str(given)
        model = self.model or model
        with _without_traceback():
            self.trial.subject(name, model)
        return PipelineUnderTest(self, name, model)

    def __repr__(self) -> str:
        return "loom"

    def replies(self) -> str:
        """The replies to the cases that were asked last, as a failure shows them."""
        cases = [case for *_, case in self.asked[-SHOWN:]]
        pairs = tuple((case, sample) for case in reversed(cases) for sample in case.samples)
        return "\n".join(explain(TestResult("", "fail", failures=pairs))[2:])

    def run_case(self, case: Mapping[str, Json], *, samples: int = 1) -> CaseResult:
        """Ask the marker's pipeline one case."""
        __tracebackhide__ = True
        return self.pipeline().run_case(case, samples=samples)

    def assert_no_regression(self, *, max_drop: float = 0.02, baseline: str | None = None) -> None:
        """As the marker's pipeline has it."""
        __tracebackhide__ = True
        self.pipeline().assert_no_regression(max_drop=max_drop, baseline=baseline)

    def entry(self, report: pytest.TestReport) -> Entry | None:
        """What the session keeps of this test, by how its call ended; None where it asked nothing.

        One that failed as it was expected to (xfail) passes; one that skips itself is unverified,
        for its own reason.
        """
        if not self.asked:
            return None
        pipeline, model, _ = self.asked[0]
        cases = [case for name, other, case in self.asked if (name, other) == (pipeline, model)]
        file, _, name = self.nodeid.partition("::")
        verdict, message = self._verdict(report)
        return Entry(
            file=file,
            name=name,
            kind="python",
            pipeline=pipeline,
            verdict=verdict,
            message=message,
            checks=tuple(self.checks),
            model=model,
            fingerprint=self.trial.subject(pipeline, model).fingerprint,
            cases=tuple(
                (c.id, c.key, c.definition, tuple(s.index for s in c.samples)) for c in cases
            ),
            blocks=report.failed,
            project=self.trial.project,
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
    """One pipeline, to be asked cases."""

    fixture: LoomFixture
    name: str
    model: str | None = None

    def __repr__(self) -> str:
        return f"loom.pipeline({self.name!r})"

    def run_case(self, case: Mapping[str, Json], *, samples: int = 1) -> CaseResult:
        """The pipeline's replies to one input, judged by its evaluators; nothing is loaded.

        Where no reply could be had at all the test is unverified: it is skipped, and fails where
        that is strict or the budget was spent.
        """
        __tracebackhide__ = True
        fixture = self.fixture
        identity = f"{fixture.nodeid}[{len(fixture.asked) + 1}]"
        samples = fixture.samples or samples
        with _without_traceback():
            found = fixture.trial.ask(self.name, self.model, identity, dict(case), samples)
        fixture.asked.append((self.name, self.model, found))
        if all(sample.lost for sample in found.samples):
            fixture.unmeasured = f"{self.name}: {found.samples[0].failure}"
            refused = any(sample.trouble == "budget" for sample in found.samples)
            if fixture.trial.options.strict or refused:
                pytest.fail(f"unverified: {fixture.unmeasured}", pytrace=False)
            pytest.skip(f"unverified: {fixture.unmeasured}")
        return CaseResult(found)

    def assert_no_regression(self, *, max_drop: float = 0.02, baseline: str | None = None) -> None:
        """Fail where the cases that this test asked score worse than under the baseline.

        Where that cannot be told (the baseline has no results of them, or there are too few) the
        session says so, and with `--loom-strict` the test fails.
        """
        __tracebackhide__ = True
        fixture = self.fixture
        cases = [case for name, _, case in fixture.asked if name == self.name]
        with _without_traceback():
            found = fixture.trial.regression(
                self.name, self.model, cases, max_drop=max_drop, baseline=baseline
            )
        if found.worse:
            pytest.fail(found.worse, pytrace=False)
        if found.unknown:
            text = f"{self.name} is no worse than the baseline"
            fixture.checks.append(Check(text, "inconclusive", note=found.unknown, warns=True))
            if fixture.trial.options.strict:
                pytest.fail(f"inconclusive: {text}: {found.unknown}", pytrace=False)


@contextmanager
def _without_traceback() -> Iterator[None]:
    """Let what a user can change fail the test in its own words."""
    __tracebackhide__ = True
    try:
        yield
    except LoomError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        pytest.fail(f"{error.message}{hint}", pytrace=False)


class CaseResult(Struct, frozen=True):
    """The replies to one case."""

    case: CaseSamples

    def __repr__(self) -> str:
        """What an assertion that fails shows: pytest cuts it, so what matters most comes first."""
        said = "; ".join(sample.failure for sample in self.case.samples if sample.failure)
        outputs = ", ".join(map(str, self.outputs))
        failed = f", failed: {said}" if said else ""
        return f"<case {self.case.id}: score {self.score:.3g}, {outputs}{failed}>"

    @property
    def outputs(self) -> list[JsonObject]:
        """The fields of each reply."""
        return [sample.output for sample in self.case.samples]

    @property
    def output(self) -> JsonObject:
        """The fields of the first reply; one that cannot be used fails the test with its reason."""
        __tracebackhide__ = True
        first = self.case.samples[0]
        if first.trouble == "product" and not first.output:
            pytest.fail(f"{self.case.id}: no usable reply: {first.failure}", pytrace=False)
        return first.output

    @property
    def scores(self) -> list[float]:
        """The evaluation score of each reply that has one, in [0, 1]."""
        return [sample.score for sample in self.case.samples if sample.score is not None]

    @property
    def score(self) -> float:
        """Their mean; NaN of none."""
        return sum(self.scores) / len(self.scores) if self.scores else float("nan")

    @property
    def passed(self) -> bool:
        """Whether every reply passes the pipeline's gate."""
        return all(sample.passed for sample in self.case.samples)

    @property
    def cost(self) -> float | None:
        """USD, None where a price is unknown."""
        costs = [sample.cost for sample in self.case.samples]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def reasons(self, evaluator: str) -> list[str]:
        """What an evaluator said of each reply."""
        found = (sample.judgements.get(evaluator) for sample in self.case.samples)
        return [judgement.reason for judgement in found if judgement is not None]
