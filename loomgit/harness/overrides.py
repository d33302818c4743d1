"""Parses the settings of an invocation, and applies them to all tests.

The settings come from flags, environment variables and configuration.
"""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.settings import Replay
from loomgit.domain.suggestions import did_you_mean
from loomgit.domain.suites import IntegrationCase, OnInconclusive, UnitCase
from loomgit.domain.utc import parse_date
from loomgit.domain.variables import GivenValues, parse_assignment
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from loomgit.domain.suites import Policy, Suite

Number = TypeVar("Number", int, float)
REPORTS = (".html", ".md", ".json")


class Options(Struct, frozen=True):
    """The options for running and judging tests.

    If `concurrency` is None, the concurrency of the pipelines applies. If `baseline` is None, the
    default baseline applies; if `baseline` is the text `none`, nothing is compared. `budget` is in
    USD. If a model does not answer for `outage` seconds, Loom stops calling the model. If
    `stricter` or `strict` is true, the baseline's values apply to settings that the tested change
    makes more lenient.
    """

    baseline: str | None = None
    concurrency: int | None = None
    budget: float | None = None
    replay: Replay = "off"
    on_inconclusive: OnInconclusive = "point"
    strict: bool = False
    store: bool = True
    outage: float = 10.0
    stricter: bool = False

    @property
    def is_stricter(self) -> bool:
        """Whether the baseline's values apply to settings that the change makes more lenient."""
        return self.stricter or self.strict


class Overrides(Struct, frozen=True):
    """The settings of an invocation: options, and values that replace the tests' own settings.

    `samples`, `sample_size` and `model` are None if the tests' settings apply. If `modified` is
    true, only tests of modified pipelines run. `report` is the path of the report file. `target` is
    the name of the target, None for the default. `given` replaces the values of the test files.
    """

    options: Options = field(default_factory=Options)
    samples: int | None = None
    sample_size: int | None = None
    model: str | None = None
    modified: bool = False
    report: str | None = None
    target: str | None = None
    given: GivenValues = field(default_factory=GivenValues)


class OptionValue(Struct, frozen=True):
    """The value of an option, and the name of the flag, variable or setting that defines it."""

    value: object
    source: str

    def __str__(self) -> str:
        return f"{self.source} {self.value}"


MAX_NUMBER, MAX_CONCURRENCY = 1_000_000_000, 10_000


def parse_overrides(values: Mapping[str, OptionValue]) -> Overrides:
    """Convert values from flags, environment variables and configuration to `Overrides`.

    The keys of `values` are option names. Raises UserError if a value is invalid.
    """
    report = _text(values, "report")
    if report is not None and not report.endswith(REPORTS):
        raise UserError(f"{values['report']}: must end in {', '.join(REPORTS)}")
    options = Options(
        baseline=_text(values, "baseline"),
        concurrency=_number(values, "concurrency", int),
        budget=_number(values, "budget", float),
        replay=_choice(values, "replay", get_args(Replay), "off"),
        on_inconclusive=_choice(values, "on_inconclusive", get_args(OnInconclusive), "point"),
        strict=_switch(values, "strict"),
        store=not _switch(values, "no_store"),
    )
    return Overrides(
        options=options,
        samples=_number(values, "samples", int),
        sample_size=_number(values, "sample_size", int),
        model=_text(values, "model"),
        modified=_switch(values, "modified"),
        report=report,
        target=_text(values, "target"),
        given=GivenValues(_variables(values), _date(values, "execution_date")),
    )


def _variables(values: Mapping[str, OptionValue]) -> dict[str, str]:
    """Return the variables by name.

    The value is a list of assignments from flags, or a text with assignments that are separated by
    spaces, as in a shell.
    """
    if "vars" not in values:
        return {}
    option = values["vars"]
    try:
        written = option.value if isinstance(option.value, list) else shlex.split(str(option.value))
        return dict(map(parse_assignment, written))
    except ValueError as error:  # a quotation mark is not closed
        raise UserError(f"{option}: {error}") from error
    except UserError as error:
        raise UserError(f"{option.source}: {error.message}") from error


def _date(values: Mapping[str, OptionValue], name: str) -> datetime | None:
    if name not in values:
        return None
    try:
        return parse_date(str(values[name].value))
    except ValueError as error:
        raise UserError(f"{values[name].source}: {error}") from error


def _text(values: Mapping[str, OptionValue], name: str) -> str | None:
    return str(values[name].value) if name in values else None


def _number(
    values: Mapping[str, OptionValue], name: str, kind: Callable[[str], Number]
) -> Number | None:
    if name not in values:
        return None
    try:
        number = kind(str(values[name].value))
    except ValueError as error:
        kind_name = "a whole number" if kind is int else "a number"
        raise UserError(f"{values[name]}: must be {kind_name}") from error
    allows_zero = name == "budget"
    if not (0 < number < math.inf or (allows_zero and number == 0)):
        least = "at least 0" if allows_zero else "greater than 0"
        rule = least if number <= 0 else "finite"
        raise UserError(f"{values[name]}: must be {rule}")
    limit = MAX_CONCURRENCY if name == "concurrency" else MAX_NUMBER
    if number > limit:
        raise UserError(f"{values[name]}: must be at most {limit:,}")
    return number


def _choice(
    values: Mapping[str, OptionValue], name: str, choices: Sequence[str], default: str
) -> Any:  # noqa: ANN401 - one of the choices
    value = _text(values, name) or default
    if value not in choices:
        hint = did_you_mean(value, choices)
        message = f"{values[name]}: must be one of {', '.join(choices)}"
        raise UserError(f"{message}; {hint}" if hint else message)
    return value


def _switch(values: Mapping[str, OptionValue], name: str) -> bool:
    return name in values and str(values[name].value).lower() in ("1", "true", "yes", "on")


def apply_overrides(suite: Suite, overrides: Overrides) -> Suite:
    """Return the suite with the `samples`, `sample_size` and `model` of the invocation, if set."""
    if (overrides.samples, overrides.sample_size, overrides.model) == (None, None, None):
        return suite

    def override(test: Any) -> Any:  # noqa: ANN401 - returns the same type of test
        changed = replace(test, policy=_policy(test.policy, overrides))
        if isinstance(test, UnitCase) and test.min_pass is not None:
            share = test.min_pass / test.policy.samples
            changed = replace(changed, min_pass=max(1, round(share * changed.policy.samples)))
        if overrides.sample_size is not None and not isinstance(test, UnitCase | IntegrationCase):
            changed = replace(changed, sample_size=overrides.sample_size)
        return changed

    return replace(
        suite,
        unit_tests=tuple(map(override, suite.unit_tests)),
        distributional_tests=tuple(map(override, suite.distributional_tests)),
        integration_tests=tuple(map(override, suite.integration_tests)),
    )


def _policy(policy: Policy, overrides: Overrides) -> Policy:
    samples = policy.samples if overrides.samples is None else overrides.samples
    max_samples = policy.max_samples
    return replace(
        policy,
        samples=samples,
        max_samples=None if max_samples is None else max(max_samples, samples),
        model=policy.model if overrides.model is None else overrides.model,
    )
