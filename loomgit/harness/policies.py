"""Combines the test settings of two versions into the stricter settings.

The base is the version before a change, and the head is the version after the change. A setting
that the change loosens thus takes effect only after the merge. If the two values of a setting have
no order, the base's value applies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.comparison import Limits
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

    from loomgit.domain.definitions import Evaluate, Gate
    from loomgit.domain.suites import AnyTest, Suite

Settings = TypeVar("Settings", bound=Struct)
# Maps each setting to a function that returns the stricter of the setting's values (base, head).
Rules: TypeAlias = dict[str, Callable[[Any, Any], Any]]


class LoosenedSetting(Struct, frozen=True):
    """A setting that is looser in the head (after the change) than in the base (before it).

    `where` contains the name of the pipeline, and the name of the test or evaluator if the setting
    belongs to one. `base` and `head` are the two values. The value `used` applies until the merge.
    """

    where: str
    setting: str
    base: str
    head: str
    used: str

    def __str__(self) -> str:
        return f"{self.difference} ({self.used} applies until the merge)"

    @property
    def difference(self) -> str:
        """The setting with both values: `demo: quality: max_drop: 0.02 -> 0.9`."""
        return f"{self.where}: {self.setting}: {self.base} -> {self.head}"


class LostExpectation(Struct, frozen=True):
    """A test's expectation that may no longer be checked after the change.

    `pipeline` and `test` are names from before the change. `text` describes the change.
    """

    pipeline: str
    test: str
    text: str

    def __str__(self) -> str:
        return f"{self.pipeline}: {self.test}: {self.text}"


def _least(base: Any, head: Any) -> Any:  # noqa: ANN401 - numbers
    """Return the smaller of two maximum values. None means no maximum."""
    known = [value for value in (base, head) if value is not None]
    return min(known, default=None)


def _most(base: Any, head: Any) -> Any:  # noqa: ANN401 - numbers
    """Return the larger value. None means no limit, so None is larger than any number."""
    return None if base is None or head is None else max(base, head)


def _highest(base: Any, head: Any) -> Any:  # noqa: ANN401 - numbers
    """Return the larger of two minimum values. None means no minimum."""
    return max((value for value in (base, head) if value is not None), default=None)


def _both(base: Any, head: Any) -> Any:  # noqa: ANN401 - truth values
    return base and head


def _either(base: Any, head: Any) -> Any:  # noqa: ANN401 - truth values
    return base or head


def _stricter_inconclusive(base: Any, head: Any) -> Any:  # noqa: ANN401 - `on_inconclusive`
    """Return the stricter rule for inconclusive results. None means the default rule."""
    order = ("warn", None, "point", "fail")
    return max(base, head, key=order.index)


def _base(base: Any, _: Any) -> Any:  # noqa: ANN401 - values without an order
    return base


# For each setting, the function that chooses the stricter value.
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
    "on_inconclusive": _stricter_inconclusive,
    "model": _base,
}
REGRESSION_ONLY = ("max_drop", "max_rise", "allow_removed", "confirm")  # only in regression tests
SAMPLED: Rules = {name: choose for name, choose in POLICY.items() if name not in REGRESSION_ONLY}
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
GATES = ("any_pass", "majority_pass", "all_pass")  # the strictest gate is the last


def policy_limits(policy: Policy) -> Limits:
    """Return those settings of a policy that apply to regressions."""
    return Limits(
        scope=policy.scope,
        max_drop=policy.max_drop,
        max_rise=policy.max_rise,
        max_error_rate=policy.max_error_rate,
        allow_removed=policy.allow_removed,
        confirm=policy.confirm,
        strict=policy.strict,
    )


def stricter_limits(
    where: str, base: Limits, head: Limits
) -> tuple[Limits, tuple[LoosenedSetting, ...]]:
    """Choose the stricter value of each comparison limit.

    Returns (the stricter limits, the limits that the head loosened). `where` is the name of the
    pipeline.
    """
    return _stricter(where, base, head, {name: POLICY[name] for name in LIMITS})


def stricter_suite(base: Iterable[Suite], head: Suite) -> tuple[Suite, tuple[LoosenedSetting, ...]]:
    """Return (suite, settings): `head` with stricter settings, and the settings loosened in `head`.

    If base and head have different values for a setting, the stricter one is used. `base` contains
    the test files of the same pipeline at the base. Each test is compared with the base test that
    has the same type and name. If the base has a test file with the same path as `head`, only the
    tests in this file are compared; otherwise the tests in all files are compared.
    """
    same = {suite.path: suite for suite in base}
    files = [same[head.path]] if head.path in same else same.values()
    base_tests = {(type(test), test.name): test for suite in files for test in _tests(suite)}
    loosened: list[LoosenedSetting] = []

    def stricter(test: Any) -> Any:  # noqa: ANN401 - returns the same type of test
        old = base_tests.get((type(test), test.name))
        if old is None:
            return test
        where = f"{head.pipeline}: {test.name}"
        rules = POLICY if isinstance(test, Regression) else SAMPLED
        policy, in_policy = _stricter(where, old.policy, test.policy, rules)
        changed, in_test = _stricter(where, old, test, TESTS[type(test)])
        changed = replace(changed, policy=_with_valid_maximum(policy))
        if isinstance(changed, UnitCase) and isinstance(old, UnitCase):
            changed, in_test = _stricter_min_pass(where, old, test, changed)
        loosened.extend((*in_policy, *in_test))
        return changed

    suite = replace(
        head,
        unit_tests=tuple(map(stricter, head.unit_tests)),
        distributional_tests=tuple(map(stricter, head.distributional_tests)),
        integration_tests=tuple(map(stricter, head.integration_tests)),
    )
    return suite, tuple(loosened)


def _stricter_min_pass(
    where: str, base: UnitCase, head: UnitCase, test: UnitCase
) -> tuple[UnitCase, tuple[LoosenedSetting, ...]]:
    """Choose the stricter `min_pass`: the larger fraction of samples that must pass.

    Returns two values. The first is `test` with this `min_pass`. The second contains the setting
    `min_pass` if the head loosened it, and is empty otherwise.
    """
    shares = [
        1.0 if version.min_pass is None else version.min_pass / version.policy.samples
        for version in (base, head)
    ]
    share, samples = max(shares), test.policy.samples
    min_pass = None if share >= 1 else math.ceil(share * samples - ROUNDING)
    test = replace(test, min_pass=min_pass)
    if shares[1] >= shares[0]:
        return test, ()
    shown = [
        f"{version.policy.samples if version.min_pass is None else version.min_pass} of "
        f"{version.policy.samples}"
        for version in (base, head, test)
    ]
    return test, (LoosenedSetting(where, "min_pass", *shown),)


def stricter_evaluate(
    where: str, base: Evaluate, head: Evaluate
) -> tuple[Evaluate, tuple[LoosenedSetting, ...]]:
    """Choose the stricter value of each setting of the head's evaluators and gate.

    Returns `head` with the stricter values, and the settings that the head loosened.
    """
    base_specs = {spec.name: spec for spec in base.evaluators}
    loosened: list[LoosenedSetting] = []
    specs = []
    for spec in head.evaluators:
        old = base_specs.get(spec.name)
        rules = {} if old is None else SPEC
        stricter, in_spec = _stricter(f"{where}: {spec.name}", old, spec, rules)
        loosened += in_spec
        specs.append(stricter)
    gate = _stricter_gate(base.gate, head.gate)
    if gate != head.gate:
        shown = (_show_gate(version) for version in (base.gate, head.gate, gate))
        loosened.append(LoosenedSetting(where, "quality_gate", *shown))
    evaluate, in_evaluate = _stricter(where, base, head, EVALUATE)
    return replace(evaluate, evaluators=tuple(specs), gate=gate), (*loosened, *in_evaluate)


def deleted_expectations(
    base: Iterable[Suite], head: Iterable[Suite]
) -> tuple[LostExpectation, ...]:
    """Return the tests, assertions and expected values that the head deleted or loosened.

    Each base test is compared with the head test that has the same pipeline, group and name. The
    file with the same path is searched first. If it lacks the test, the tests that the head added
    to other files are searched, because a file may have been renamed.
    """
    base = list(base)
    head_tests = {
        (suite.path, suite.pipeline, group_of(test), test.name): test
        for suite in head
        for test in _tests(suite)
    }
    base_names = {
        (suite.path, suite.pipeline, group_of(test), test.name)
        for suite in base
        for test in _tests(suite)
    }
    moved = {name[1:]: test for name, test in head_tests.items() if name not in base_names}
    lost: list[LostExpectation] = []
    for suite in base:
        for test in _tests(suite):
            name = suite.pipeline, group_of(test), test.name
            new = head_tests.get((suite.path, *name)) or moved.get(name)
            if new is None or type(new) is not type(test):
                lost.append(LostExpectation(suite.pipeline, test.name, f"the test{GONE}"))
                continue
            lost += (
                LostExpectation(suite.pipeline, test.name, f"{text}{GONE}")
                for text in _find_missing(test, new)
            )
    return tuple(lost)


def _find_missing(old: AnyTest, new: AnyTest) -> Iterable[str]:
    """Yield the old test's assertions and expected values that the new test no longer
    guarantees."""
    if isinstance(old, UnitCase | Statistical | IntegrationCase):
        assert isinstance(new, UnitCase | Statistical | IntegrationCase)
        yield from (f"`{text}`" for text in missing_assertions(old.assertions, new.assertions))
    if isinstance(old, UnitCase) and isinstance(new, UnitCase):
        yield from (f"`{text}`" for text in missing_expectations(old.expected, new.expected))


def _tests(suite: Suite) -> Sequence[AnyTest]:
    return (*suite.unit_tests, *suite.distributional_tests, *suite.integration_tests)


def _stricter(
    where: str,
    base: object,
    head: Settings,
    rules: Rules,
) -> tuple[Settings, tuple[LoosenedSetting, ...]]:
    """Choose the stricter value of each setting in `rules`.

    Returns `head` with the stricter values, and the settings that the head loosened.
    """
    used: dict[str, object] = {}
    for name, choose in rules.items():
        old, new = getattr(base, name), getattr(head, name)
        if old != new and (value := choose(old, new)) != new:
            used[name] = value
    loosened = tuple(
        LoosenedSetting(
            where,
            name,
            *(
                _show(version, "all" if rules[name] is _most else "none")
                for version in (getattr(base, name), getattr(head, name), value)
            ),
        )
        for name, value in used.items()
    )
    return (replace(head, **used) if used else head), loosened


def _with_valid_maximum(policy: Policy) -> Policy:
    """Return the policy, with `max_samples` raised to `samples` if `max_samples` is smaller."""
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


def _show_gate(gate: Gate) -> str:
    return f"{gate.type} {gate.threshold:g}" if gate.type == "weighted" else gate.type


def _show(value: object, none_text: str) -> str:
    if value is None:
        return none_text
    if isinstance(value, EvaluatorSpec):
        return value.type
    return f"{value:g}" if isinstance(value, float) else str(value)
