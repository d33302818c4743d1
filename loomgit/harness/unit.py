"""Verdicts of unit tests: so many of so many replies to one input must be as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.patterns import TooSlow
from loomgit.domain.samples import Check, Sample, TestResult
from loomgit.harness.assertions import Answer, Finding, decide, show, values_in
from loomgit.harness.expected import expectations
from loomgit.harness.facts import facts_of_sample
from loomgit.harness.samples import SHOWN, badness, loss, mean_score
from loomgit.harness.verdicts import settle, way_to_decide
from loomgit.stats.contracts import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.samples import CaseSamples, Verdict
    from loomgit.domain.suites import OnInconclusive, UnitCase
    from loomgit.stats.verdicts import Outcome

GATE = "passes the quality gate"
USABLE = "the reply can be used"
GOOD = 0.95  # a good prompt's share of good replies, for saying how often a contract flakes


class _Line(Struct, frozen=True):
    """One line about one reply."""

    text: str
    finding: Finding
    actual: str
    written: str = ""


class _Reply(Struct, frozen=True):
    """One reply that says something of the prompt, with its lines."""

    sample: Sample
    lines: tuple[_Line, ...]

    @property
    def passed(self) -> bool:
        return all(line.finding.answer is Answer.YES for line in self.lines)

    @property
    def failed(self) -> bool:
        return any(line.finding.answer in (Answer.NO, Answer.ABSENT) for line in self.lines)


def contract(case: UnitCase) -> Contract:
    """How many replies are asked for, and how many of them must pass."""
    samples = case.policy.samples
    return Contract(samples, samples if case.min_pass is None else case.min_pass)


def decided(case: UnitCase, measured: CaseSamples) -> bool:
    """Whether no further reply can change the verdict, so that none need be paid for."""
    try:
        return _outcome(case, _replies(case, measured)) != "inconclusive"
    except TooSlow:
        return True


def judge(
    case: UnitCase,
    measured: CaseSamples,
    *,
    entrance: OnInconclusive = "point",
    strict: bool = False,
) -> TestResult:
    """The verdict on the replies that were drawn, of which an early stop may have spared some.

    A reply that cannot be used fails. Replies lost to the world are left out: the contract may be
    decided without them; else too many of them make an error, or `unverified` where all are lost.
    """
    try:
        replies = _replies(case, measured)
    except TooSlow as error:
        return TestResult(case.name, "error", message=str(error))
    verdict, message, weak = _verdict(case, measured, replies, entrance, strict=strict)
    checks = [*_checks(case, replies)]
    if contract(case).samples > 1:
        checks.append(_contract_line(case, replies, verdict, weak=weak))
    if not replies:
        checks = [Check(text, verdict, note=message) for text in _texts(case)]
    failing = [(measured, reply.sample) for reply in replies if reply.failed]
    failing = sorted(failing, key=badness) if verdict != "pass" else []
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
    entrance: OnInconclusive,
    *,
    strict: bool,
) -> tuple[Verdict, str, bool]:
    """The verdict, a message where the replies do not speak for themselves, whether it is weak."""
    outcome = _outcome(case, replies)
    if outcome != "inconclusive":
        return outcome, "", False
    if lost := loss([measured], case.policy):
        return *lost, False
    unmeasured = [reply for reply in replies if not reply.passed and not reply.failed]
    if unmeasured:
        reasons = (r for line in unmeasured[0].lines for r in line.finding.reasons)
        return "unverified", next(iter(reasons), ""), False
    rule = contract(case)
    passes = sum(reply.passed for reply in replies)
    how = way_to_decide(case.policy, entrance, strict=strict)
    holds = passes * rule.samples >= rule.min_pass * len(replies)
    verdict, weak = settle(outcome, holds=holds, how=how)
    missing = rule.samples - len(replies)
    return verdict, f"{missing} of {rule.samples} replies are missing", weak


def _replies(case: UnitCase, measured: CaseSamples) -> list[_Reply]:
    drawn = (s for s in measured.samples if s.index < case.policy.samples)
    return [_reply(case, measured, sample) for sample in drawn if not sample.lost]


def _reply(case: UnitCase, measured: CaseSamples, sample: Sample) -> _Reply:
    once = {line.text: line for line in _lines(case, measured, sample)}
    return _Reply(sample, tuple(once.values()))


def _lines(case: UnitCase, measured: CaseSamples, sample: Sample) -> Iterator[_Line]:
    """What is asked of one reply. TooSlow for a regular expression that takes too long."""
    if sample.trouble == "product":
        yield _Line(USABLE, Finding(Answer.ABSENT, (sample.failure,)), "not usable")
    facts = facts_of_sample(measured, sample)
    asked = [e for e in expectations(case.expected) if e.concerns(sample)]
    for expectation in asked:
        finding = expectation.holds(sample)
        yield _Line(expectation.text, finding, show(expectation.find(sample)))
    for assertion in case.assertions:
        finding = decide(assertion.tree, facts)
        text = " ".join(assertion.text.split())
        written = "" if text == assertion.text else assertion.text
        yield _Line(text, finding, values_in(assertion.tree, facts), written)
    if not asked and not case.assertions:
        answer = Answer.YES if sample.passed else Answer.NO
        reasons = (sample.failure,) if sample.failure else ()
        yield _Line(GATE, Finding(answer, reasons), "passed" if sample.passed else "not passed")


def _texts(case: UnitCase) -> list[str]:
    """The lines of a test of which no reply is there."""
    texts = [e.text for e in expectations(case.expected)]
    texts += [" ".join(assertion.text.split()) for assertion in case.assertions]
    return texts or [GATE]


def _checks(case: UnitCase, replies: list[_Reply]) -> Iterator[Check]:
    """The lines over all replies: one is shown by its value, several by how often it holds."""
    by_text: dict[str, list[_Line]] = {}
    for reply in replies:
        for line in reply.lines:
            by_text.setdefault(line.text, []).append(line)
    rule = contract(case)
    for text, lines in by_text.items():
        bad = [line for line in lines if line.finding.answer in (Answer.NO, Answer.ABSENT)]
        open_ = [line for line in lines if line.finding.answer is Answer.UNMEASURED]
        verdict: Verdict = "fail" if len(bad) > rule.samples - rule.min_pass else "pass"
        if verdict == "pass" and len(open_) > rule.samples - rule.min_pass:
            verdict = "unverified"
        shown = next(iter(bad or open_ or lines))
        actual = shown.actual
        if len(replies) > 1:
            holding = f"holds in {len(lines) - len(bad) - len(open_)} of {len(lines)}"
            actual = f"{actual}; {holding}" if bad else holding
        note = "; ".join(shown.finding.reasons)
        n = len(lines) if rule.samples > 1 else None
        yield Check(text, verdict, actual, n=n, note=note, written=shown.written)


def _contract_line(case: UnitCase, replies: list[_Reply], verdict: Verdict, *, weak: bool) -> Check:
    rule = contract(case)
    passes = sum(reply.passed for reply in replies)
    spared = rule.samples - len(replies)
    flake = rule.flake_rate(GOOD)
    note = f"a prompt with {GOOD:.0%} good replies fails this {flake:.1%} of the time"
    if spared and not weak and verdict in ("pass", "fail"):
        note = f"decided after {len(replies)} of {rule.samples}; {note}"
    text = f"{rule.min_pass} of {rule.samples} replies pass"
    return Check(text, verdict, f"{passes} of {len(replies)}", n=len(replies), weak=weak, note=note)
