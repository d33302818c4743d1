"""What an invocation says of all tests at once, parsed; and the tests with that in place of their
own words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.settings import Replay
from loomgit.domain.suites import IntegrationCase, OnInconclusive, UnitCase
from loomgit.domain.words import did_you_mean
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.suites import Policy, Suite

Number = TypeVar("Number", int, float)
REPORTS = (".html", ".md", ".json")


class Options(Struct, frozen=True):
    """How tests are run and judged. `concurrency` None: as the pipelines have it; `baseline` None:
    the usual one, `none`: nothing is compared; `budget` in USD; a model that is out for `outage`
    seconds is given up. `stricter`, and `strict` as well: settings that the change has loosened
    count as the baseline has them."""

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
        """Whether settings that the change has loosened count as the baseline has them."""
        return self.stricter or self.strict


class Choices(Struct, frozen=True):
    """An invocation's words: options, and what replaces the tests' own."""

    options: Options = field(default_factory=Options)
    samples: int | None = None
    sample_size: int | None = None
    model: str | None = None
    modified: bool = False
    report: str | None = None


class Given(Struct, frozen=True):
    """An option's value (text where a user wrote it), and what they call the option."""

    value: object
    source: str

    def __str__(self) -> str:
        return f"{self.source} {self.value}"


MOST, MOST_CALLS = 1_000_000_000, 10_000


def parse_choices(given: Mapping[str, Given]) -> Choices:
    """The choices of flags, variables and configuration, by name.

    Raises UserError for what is no number, or no word of its list.
    """
    report = _text(given, "report")
    if report is not None and not report.endswith(REPORTS):
        raise UserError(f"{given['report']}: it ends in {', '.join(REPORTS)}")
    options = Options(
        baseline=_text(given, "baseline"),
        concurrency=_number(given, "concurrency", int),
        budget=_number(given, "budget", float),
        replay=_word(given, "replay", get_args(Replay), "off"),
        on_inconclusive=_word(given, "on_inconclusive", get_args(OnInconclusive), "point"),
        strict=_switch(given, "strict"),
        store=not _switch(given, "no_store"),
    )
    return Choices(
        options=options,
        samples=_number(given, "samples", int),
        sample_size=_number(given, "sample_size", int),
        model=_text(given, "model"),
        modified=_switch(given, "modified"),
        report=report,
    )


def _text(given: Mapping[str, Given], name: str) -> str | None:
    return str(given[name].value) if name in given else None


def _number(given: Mapping[str, Given], name: str, kind: Callable[[str], Number]) -> Number | None:
    if name not in given:
        return None
    try:
        number = kind(str(given[name].value))
    except ValueError as error:
        raise UserError(f"{given[name]}: no number") from error
    if not 0 < number < math.inf:
        raise UserError(f"{given[name]}: it is above 0")
    if number > (most := MOST_CALLS if name == "concurrency" else MOST):
        raise UserError(f"{given[name]}: it is at most {most:,}")
    return number


def _word(given: Mapping[str, Given], name: str, words: Sequence[str], usual: str) -> Any:  # noqa: ANN401 - one of the words
    value = _text(given, name) or usual
    if value not in words:
        hint = did_you_mean(value, words)
        said = f"{given[name]}: one of {', '.join(words)}"
        raise UserError(f"{said}; {hint}" if hint else said)
    return value


def _switch(given: Mapping[str, Given], name: str) -> bool:
    return name in given and str(given[name].value).lower() in ("1", "true", "yes", "on")


def with_choices(suite: Suite, choices: Choices) -> Suite:
    """The suite as the invocation wants it."""
    if (choices.samples, choices.sample_size, choices.model) == (None, None, None):
        return suite

    def changed(test: Any) -> Any:  # noqa: ANN401 - a test, and the same kind of test
        fresh = replace(test, policy=_policy(test.policy, choices))
        if isinstance(test, UnitCase) and test.min_pass is not None:
            share = test.min_pass / test.policy.samples
            fresh = replace(fresh, min_pass=max(1, round(share * fresh.policy.samples)))
        if choices.sample_size is not None and not isinstance(test, UnitCase | IntegrationCase):
            fresh = replace(fresh, sample_size=choices.sample_size)
        return fresh

    return replace(
        suite,
        unit_tests=tuple(map(changed, suite.unit_tests)),
        distributional_tests=tuple(map(changed, suite.distributional_tests)),
        integration_tests=tuple(map(changed, suite.integration_tests)),
    )


def _policy(policy: Policy, choices: Choices) -> Policy:
    samples = policy.samples if choices.samples is None else choices.samples
    most = policy.max_samples
    return replace(
        policy,
        samples=samples,
        max_samples=None if most is None else max(most, samples),
        model=policy.model if choices.model is None else choices.model,
    )
