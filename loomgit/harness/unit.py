"""Verdicts of unit tests. A minimum number of the replies to one input must be as expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.samples import CheckResult, Sample, TestResult
from loomgit.domain.user_regex import SearchTimeout
from loomgit.harness.assertions import Answer, Finding, decide, show, values_in
from loomgit.harness.expected import expectations
from loomgit.harness.samples import SHOWN, mean_score, missing_replies, sort_key
from loomgit.harness.value_lookup import values_of_sample
from loomgit.harness.verdicts import inconclusive_policy, settle
from loomgit.stats.contracts import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.samples import CaseSamples, Verdict
    from loomgit.domain.suites import OnInconclusive, UnitCase
    from loomgit.stats.verdicts import Outcome

GATE = "passes the quality gate"
USABLE = "the reply is usable"
GOOD = 0.95  # the assumed fraction of good replies, to compute the rate of accidental failures


class _AssertionLine(Struct, frozen=True):
    """The result of one check (an assertion or an expected field) for one reply."""

    text: str
    finding: Finding
    actual: str
    written: str = ""


class _Reply(Struct, frozen=True):
    """A reply that was not lost, with the results of its checks."""

    sample: Sample
    lines: tuple[_AssertionLine, ...]

    @property
    def passed(self) -> bool:
        return all(line.finding.answer is Answer.YES for line in self.lines)

    @property
    def failed(self) -> bool:
        return any(line.finding.answer in (Answer.NO, Answer.ABSENT) for line in self.lines)


def contract(case: UnitCase) -> Contract:
    """Return the contract of a test: its number of replies, and how many of them must pass."""
    samples = case.policy.samples
    return Contract(samples, samples if case.min_pass is None else case.min_pass)


def is_decided(case: UnitCase, measured: CaseSamples) -> bool:
    """Return True if the verdict is final: further replies to the case cannot change it."""
    try:
        return _outcome(case, _replies(case, measured)) != "inconclusive"
    except SearchTimeout:
        return True


def judge(
    case: UnitCase,
    measured: CaseSamples,
    *,
    default_policy: OnInconclusive = "point",
    strict: bool = False,
) -> TestResult:
    """Judge a unit test by the replies drawn so far, which may be fewer than its `samples`.

    An unusable reply fails. Lost replies are ignored if the other replies decide the test. If they
    do not, and too many replies are lost, `missing_replies` decides whether the verdict is
    `error` or `unverified`.
    `default_policy` applies to an inconclusive outcome if the test does not define a rule for it.
    """
    try:
        replies = _replies(case, measured)
    except SearchTimeout as error:
        return TestResult(case.name, "error", message=str(error))
    verdict, message, weak = _verdict(case, measured, replies, default_policy, strict=strict)
    checks = [*_checks(case, replies)]
    if contract(case).samples > 1:
        checks.append(_contract_line(case, replies, verdict, weak=weak))
    if not replies:
        checks = [CheckResult(text, verdict, note=message) for text in _texts(case)]
    failing = [(measured, reply.sample) for reply in replies if reply.failed]
    failing = sorted(failing, key=sort_key) if verdict != "pass" else []
    return TestResult(
        case.name,
        verdict,
        tuple(checks),
        tuple(failing[:SHOWN]),
        message,
        mean_score([measured]),
        max(len(failing) - SHOWN, 0),
    )


def _outcome(case: UnitCase, replies: list[_Reply]) -> Outcome:
    passes = sum(reply.passed for reply in replies)
    failures = sum(reply.failed for reply in replies)
    return contract(case).decide(passes, failures)


def _verdict(
    case: UnitCase,
    measured: CaseSamples,
    replies: list[_Reply],
    default_policy: OnInconclusive,
    *,
    strict: bool,
) -> tuple[Verdict, str, bool]:
    """Return (verdict, message, is_weak). The docstring of `settle` explains weak verdicts.

    The message describes missing replies or unmeasured values. If the replies decide the test, the
    message is empty.
    """
    outcome = _outcome(case, replies)
    if outcome != "inconclusive":
        return outcome, "", False
    if missing := missing_replies([measured], case.policy):
        return *missing, False
    unmeasured = [reply for reply in replies if not reply.passed and not reply.failed]
    if unmeasured:
        reasons = (r for line in unmeasured[0].lines for r in line.finding.reasons)
        return "unverified", next(iter(reasons), ""), False
    rule = contract(case)
    passes = sum(reply.passed for reply in replies)
    inconclusive = inconclusive_policy(case.policy, default_policy, strict=strict)
    holds = passes * rule.samples >= rule.min_pass * len(replies)
    verdict, weak = settle(outcome, holds=holds, inconclusive=inconclusive)
    count = rule.samples - len(replies)
    return verdict, f"{count} of {rule.samples} replies are missing", weak


def _replies(case: UnitCase, measured: CaseSamples) -> list[_Reply]:
    drawn = (s for s in measured.samples if s.index < case.policy.samples)
    return [_reply(case, measured, sample) for sample in drawn if not sample.lost]


def _reply(case: UnitCase, measured: CaseSamples, sample: Sample) -> _Reply:
    by_text = {line.text: line for line in _lines(case, measured, sample)}
    return _Reply(sample, tuple(by_text.values()))


def _lines(case: UnitCase, measured: CaseSamples, sample: Sample) -> Iterator[_AssertionLine]:
    """Yield the checks of one reply. Raises SearchTimeout if a regular expression takes too
    long."""
    if sample.trouble == "product":
        yield _AssertionLine(USABLE, Finding(Answer.ABSENT, (sample.failure,)), "not usable")
    lookup = values_of_sample(measured, sample)
    expected = [e for e in expectations(case.expected) if e.concerns(sample)]
    for expectation in expected:
        finding = expectation.holds(sample)
        yield _AssertionLine(expectation.text, finding, show(expectation.find(sample)))
    for assertion in case.assertions:
        finding = decide(assertion.tree, lookup)
        text = " ".join(assertion.text.split())
        written = "" if text == assertion.text else assertion.text
        yield _AssertionLine(text, finding, values_in(assertion.tree, lookup), written)
    if not expected and not case.assertions:
        answer = Answer.YES if sample.passed else Answer.NO
        reasons = (sample.failure,) if sample.failure else ()
        yield _AssertionLine(
            GATE, Finding(answer, reasons), "passed" if sample.passed else "not passed"
        )


def _texts(case: UnitCase) -> list[str]:
    """Return the text of each check. The texts are shown if the test has no replies."""
    texts = [e.text for e in expectations(case.expected)]
    texts += [" ".join(assertion.text.split()) for assertion in case.assertions]
    return texts or [GATE]


def _checks(case: UnitCase, replies: list[_Reply]) -> Iterator[CheckResult]:
    """Yield one result line for each check. The line combines the results of all replies.

    If there is only one reply, the line shows the reply's value. Otherwise, it shows the number of
    replies in which the check holds.
    """
    by_text: dict[str, list[_AssertionLine]] = {}
    for reply in replies:
        for line in reply.lines:
            by_text.setdefault(line.text, []).append(line)
    rule = contract(case)
    for text, lines in by_text.items():
        bad = [line for line in lines if line.finding.answer in (Answer.NO, Answer.ABSENT)]
        unmeasured = [line for line in lines if line.finding.answer is Answer.UNMEASURED]
        verdict: Verdict = "fail" if len(bad) > rule.samples - rule.min_pass else "pass"
        if verdict == "pass" and len(unmeasured) > rule.samples - rule.min_pass:
            verdict = "unverified"
        shown = next(iter(bad or unmeasured or lines))
        actual = shown.actual
        if len(replies) > 1:
            holding = f"holds in {len(lines) - len(bad) - len(unmeasured)} of {len(lines)}"
            actual = f"{actual}; {holding}" if bad else holding
        note = "; ".join(shown.finding.reasons)
        n = len(lines) if rule.samples > 1 else None
        yield CheckResult(text, verdict, actual, n=n, note=note, written=shown.written)


def _contract_line(
    case: UnitCase, replies: list[_Reply], verdict: Verdict, *, weak: bool
) -> CheckResult:
    rule = contract(case)
    passes = sum(reply.passed for reply in replies)
    unused = rule.samples - len(replies)
    flake = rule.flake_rate(GOOD)
    note = f"a prompt with {GOOD:.0%} good replies fails this test {flake:.1%} of the time"
    if unused and not weak and verdict in ("pass", "fail"):
        note = f"decided after {len(replies)} of {rule.samples} replies; {note}"
    text = f"{rule.min_pass} of {rule.samples} replies pass"
    return CheckResult(
        text, verdict, f"{passes} of {len(replies)}", n=len(replies), weak=weak, note=note
    )
