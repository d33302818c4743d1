"""The stricter of two versions of a policy: looser limits count once they are merged.

The base is the version before the change, the head the version after it. Where two values of a
setting have no order, the base's counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.suites import (
    CostBudget,
    Drift,
    HallucinationRate,
    IntegrationCase,
    LatencyLimit,
    Policy,
    Regression,
    Statistical,
    UnitCase,
    group_of,
)
from loomgit.harness.implied import missing_assertions, missing_expectations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.comparison import Limits
    from loomgit.domain.definitions import Evaluate, Gate
    from loomgit.domain.suites import AnyTest, Suite

Settings = TypeVar("Settings", bound=Struct)
Rules: TypeAlias = dict[str, Callable[[Any, Any], Any]]  # the stricter of two values, by setting


class Looser(Struct, frozen=True):
    """A setting that the head has loosened: where it stands (a test or a pipeline), its name, both
    values, and the value that counts."""

    where: str
    setting: str
    base: str
    head: str
    used: str

    def __str__(self) -> str:
        return f"{self.difference} ({self.used} counts until it is merged)"

    @property
    def difference(self) -> str:
        """`demo: quality: max_drop: 0.02 -> 0.9`."""
        return f"{self.where}: {self.setting}: {self.base} -> {self.head}"


class Loss(Struct, frozen=True):
    """What a test of the base checked and the head may no longer check: the pipeline and the test
    that it belonged to, and what became of it."""

    pipeline: str
    test: str
    text: str

    def __str__(self) -> str:
        return f"{self.pipeline}: {self.test}: {self.text}"


def _least(base: Any, head: Any) -> Any:  # noqa: ANN401 - numbers
    """The lower one; None is no limit at all."""
    known = [value for value in (base, head) if value is not None]
    return min(known, default=None)


def _most(base: Any, head: Any) -> Any:  # noqa: ANN401 - numbers
    """The higher one; None is everything."""
    return None if base is None or head is None else max(base, head)


def _highest(base: Any, head: Any) -> Any:  # noqa: ANN401 - numbers
    """The higher one; None is no limit at all."""
    return max((value for value in (base, head) if value is not None), default=None)


def _both(base: Any, head: Any) -> Any:  # noqa: ANN401 - truth values
    return base and head


def _either(base: Any, head: Any) -> Any:  # noqa: ANN401 - truth values
    return base or head


def _firmer(base: Any, head: Any) -> Any:  # noqa: ANN401 - what an undecided assertion does
    """The stricter way to treat an undecided assertion; None stands for the default."""
    order = ("warn", None, "point", "fail")
    return max(base, head, key=order.index)


def _base(base: Any, _: Any) -> Any:  # noqa: ANN401 - values without an order
    return base


# How the stricter value of each setting is found.
POLICY: Rules = {
    "max_drop": _least,
    "max_rise": _least,
    "max_error_rate": _least,
    "samples": _most,
    "max_samples": _most,
    "allow_removed": _both,
    "confirm": _both,
    "strict": _either,
    "scope": _base,
    "ci": _base,
    "on_inconclusive": _firmer,
    "model": _base,
}
COMPARED = ("max_drop", "max_rise", "allow_removed", "confirm")  # of regression tests alone
SAMPLED: Rules = {name: choose for name, choose in POLICY.items() if name not in COMPARED}
LIMITS = ("max_drop", "max_rise", "max_error_rate", "allow_removed", "confirm", "strict", "scope")
TESTS: dict[type, Rules] = {
    UnitCase: {},
    Statistical: {"sample_size": _most},
    HallucinationRate: {"sample_size": _most, "threshold": _least, "evaluator": _base},
    CostBudget: {"sample_size": _most, "max_cost": _least},
    LatencyLimit: {"sample_size": _most, "p95": _least},
    Regression: {"sample_size": _most, "baseline": _base},
    Drift: {"sample_size": _most, "baseline": _base, "field": _base},
    IntegrationCase: {"records": _most},
}
SPEC: Rules = {"threshold": _most, "weight": _base}
EVALUATE: Rules = {"batch_threshold": _highest, "sample": _most}
ROUNDING = 1e-9
GONE = " is deleted or looser"
GATES = ("any_pass", "majority_pass", "all_pass")  # the strictest one last


def stricter_limits(where: str, base: Limits, head: Limits) -> tuple[Limits, tuple[Looser, ...]]:
    """The limits of a comparison, and what the head has loosened of them."""
    return _stricter(where, base, head, {name: POLICY[name] for name in LIMITS})


def stricter_suite(base: Iterable[Suite], head: Suite) -> tuple[Suite, tuple[Looser, ...]]:
    """A test file in which each test has the stricter settings of both versions, and what the head
    has loosened. Tests of the `base` (the test files of the same pipeline) are found by name, in
    the file of the same path if there is one."""
    same = {suite.path: suite for suite in base}
    files = [same[head.path]] if head.path in same else same.values()
    before = {(type(test), test.name): test for suite in files for test in _tests(suite)}
    found: list[Looser] = []

    def stricter(test: Any) -> Any:  # noqa: ANN401 - a test, and the same kind of test
        old = before.get((type(test), test.name))
        if old is None:
            return test
        where = f"{head.pipeline}: {test.name}"
        rules = POLICY if isinstance(test, Regression) else SAMPLED
        policy, loosened = _stricter(where, old.policy, test.policy, rules)
        fresh, more = _stricter(where, old, test, TESTS[type(test)])
        fresh = replace(fresh, policy=_whole(policy))
        if isinstance(fresh, UnitCase) and isinstance(old, UnitCase):
            fresh, more = _stricter_min_pass(where, old, test, fresh)
        found.extend((*loosened, *more))
        return fresh

    suite = replace(
        head,
        unit_tests=tuple(map(stricter, head.unit_tests)),
        distributional_tests=tuple(map(stricter, head.distributional_tests)),
        integration_tests=tuple(map(stricter, head.integration_tests)),
    )
    return suite, tuple(found)


def _stricter_min_pass(
    where: str, base: UnitCase, head: UnitCase, test: UnitCase
) -> tuple[UnitCase, tuple[Looser, ...]]:
    """The test with the larger share of samples that must pass."""
    shares = [
        1.0 if each.min_pass is None else each.min_pass / each.policy.samples
        for each in (base, head)
    ]
    share, samples = max(shares), test.policy.samples
    least = None if share >= 1 else math.ceil(share * samples - ROUNDING)
    test = replace(test, min_pass=least)
    if shares[1] >= shares[0]:
        return test, ()
    shown = [
        f"{each.policy.samples if each.min_pass is None else each.min_pass} of "
        f"{each.policy.samples}"
        for each in (base, head, test)
    ]
    return test, (Looser(where, "min_pass", *shown),)


def stricter_evaluate(
    where: str, base: Evaluate, head: Evaluate
) -> tuple[Evaluate, tuple[Looser, ...]]:
    """Thresholds, weights and the gate of a pipeline, and what the head has loosened of them."""
    before = {spec.name: spec for spec in base.evaluators}
    found: list[Looser] = []
    specs = []
    for spec in head.evaluators:
        old = before.get(spec.name)
        rules = {} if old is None else SPEC
        stricter, loosened = _stricter(f"{where}: {spec.name}", old, spec, rules)
        found += loosened
        specs.append(stricter)
    gate = _stricter_gate(base.gate, head.gate)
    if gate != head.gate:
        shown = (_shown_gate(each) for each in (base.gate, head.gate, gate))
        found.append(Looser(where, "quality_gate", *shown))
    evaluate, loosened = _stricter(where, base, head, EVALUATE)
    return replace(evaluate, evaluators=tuple(specs), gate=gate), (*found, *loosened)


def deleted_expectations(base: Iterable[Suite], head: Iterable[Suite]) -> tuple[Loss, ...]:
    """The tests, assertions and expected values of the base that the head has deleted or loosened.

    Tests are found by group and name within a pipeline, in the file of the same path first; then in
    the others, because a file may have been renamed.
    """
    base = list(base)
    after = {
        (suite.path, suite.pipeline, group_of(test), test.name): test
        for suite in head
        for test in _tests(suite)
    }
    known = {
        (suite.path, suite.pipeline, group_of(test), test.name)
        for suite in base
        for test in _tests(suite)
    }
    moved = {name[1:]: test for name, test in after.items() if name not in known}
    found: list[Loss] = []
    for suite in base:
        for test in _tests(suite):
            name = suite.pipeline, group_of(test), test.name
            now = after.get((suite.path, *name)) or moved.get(name)
            if now is None or type(now) is not type(test):
                found.append(Loss(suite.pipeline, test.name, f"the test{GONE}"))
                continue
            found += (
                Loss(suite.pipeline, test.name, f"{text}{GONE}") for text in _missing(test, now)
            )
    return tuple(found)


def _missing(test: AnyTest, now: AnyTest) -> Iterable[str]:
    """The assertions and expected values of a test that its new version does not imply."""
    if isinstance(test, UnitCase | Statistical | IntegrationCase):
        assert isinstance(now, UnitCase | Statistical | IntegrationCase)
        yield from (f"`{text}`" for text in missing_assertions(test.assertions, now.assertions))
    if isinstance(test, UnitCase) and isinstance(now, UnitCase):
        yield from (f"`{text}`" for text in missing_expectations(test.expected, now.expected))


def _tests(suite: Suite) -> Sequence[AnyTest]:
    return (*suite.unit_tests, *suite.distributional_tests, *suite.integration_tests)


def _stricter(
    where: str,
    base: object,
    head: Settings,
    rules: Rules,
) -> tuple[Settings, tuple[Looser, ...]]:
    """The head with the stricter value of each setting, and what it has loosened."""
    used: dict[str, object] = {}
    for name, choose in rules.items():
        one, two = getattr(base, name), getattr(head, name)
        if one != two and (value := choose(one, two)) != two:
            used[name] = value
    loosened = tuple(
        Looser(
            where,
            name,
            *(
                _shown(each, "all" if rules[name] is _most else "none")
                for each in (getattr(base, name), getattr(head, name), value)
            ),
        )
        for name, value in used.items()
    )
    return (replace(head, **used) if used else head), loosened


def _whole(policy: Policy) -> Policy:
    """The policy with `max_samples` no lower than `samples`."""
    if policy.max_samples is None or policy.max_samples >= policy.samples:
        return policy
    return replace(policy, max_samples=policy.samples)


def _stricter_gate(base: Gate, head: Gate) -> Gate:
    if base == head:
        return head
    if base.type == head.type == "weighted":
        return replace(head, threshold=max(base.threshold, head.threshold))
    if base.type in GATES and head.type in GATES:
        return max(base, head, key=lambda gate: GATES.index(gate.type))
    return base


def _shown_gate(gate: Gate) -> str:
    return f"{gate.type} {gate.threshold:g}" if gate.type == "weighted" else gate.type


def _shown(value: object, nothing: str) -> str:
    if value is None:
        return nothing
    if isinstance(value, EvaluatorSpec):
        return value.type
    return f"{value:g}" if isinstance(value, float) else str(value)
