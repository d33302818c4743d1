"""Comparisons, sessions and overviews of every kind, for tests of what shows them."""

import random

from msgspec.structs import replace

from loomgit.domain.changes import Approval, ChangeLog, LoggedChange
from loomgit.domain.comparison import (
    CaseChange,
    Comparison,
    Metric,
    PipelineComparison,
    QuestionDifference,
    Revision,
    Side,
)
from loomgit.domain.log import FileLog, LogEntry, MeanScore, StoredScores
from loomgit.domain.runs import RunSummary
from loomgit.domain.samples import CheckResult
from loomgit.domain.versions import Commit
from loomgit.report.evidence import ComparisonEvidence, Example, Reason, Reply, ScoreDistribution
from loomgit.report.overview import Overview, PipelineHistory
from loomgit.report.session import PipelineTable, ScoreRow, TestLine

BASE, HEAD = "1a2b3c4d" * 5, "9f8e7d6c" * 5
HOSTILE = (
    "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}\x1b[31m\u202eevil"
)
LONG = "supercalifragilistic" * 20
SIDES = (
    Side(BASE, "f" * 64, "v2.3.0", "gpt-4o-mini", ("uid-base",)),
    Side(HEAD, "e" * 64, "v2.3.0+1.g9f8e7d6c", "gpt-4o-mini", ("uid-head",)),
)
LABEL = Metric(
    "label", "score", True, "degraded", 0.913, 0.847, -0.066, -0.094, -0.038, 0.0004, 0.0012,
    0.02, 0.031, 150, 450,
)  # fmt: skip
TONE = Metric(
    "tone_of_voice", "score", True, "no_worse", 0.951, 0.958, 0.007, -0.008, 0.022, 0.78, 0.9,
    0.02, 0.02, 150, 450,
)  # fmt: skip
PASSES = Metric(
    "pass_rate", "score", False, "inconclusive", 0.88, 0.853, -0.027, -0.061, 0.008, 0.1, None,
    0.02, 0.05, 150, 450,
)  # fmt: skip
COST = Metric(
    "cost", "cost", False, "inconclusive", 0.00041, 0.00045, 0.098, 0.051, 0.147, 0.001, None,
    0.1, None, 150, 150,
)  # fmt: skip
LATENCY = Metric(
    "latency", "latency", False, "inconclusive", 0.9, 0.88, -0.022, -0.11, 0.074, 0.6, None,
    0.1, None, 150, 150,
)  # fmt: skip


def changes(count, way, start=0):
    rng = random.Random(start)
    found = []
    for number in range(start, start + count):
        low, high = sorted((round(rng.random() * 0.6, 2), round(0.65 + rng.random() * 0.35, 2)))
        base, head = (high, low) if way == "worse" else (low, high)
        scores = {"label": (base, head), "tone_of_voice": (0.9, 0.95)}
        found.append(CaseChange(f"review-{number:04}", base, head, scores))
    return tuple(sorted(found, key=lambda change: -abs(change.delta)))


def degraded(worse=31, better=9, name="customer_sentiment"):
    return PipelineComparison(
        name, "degraded", base=SIDES[0], head=SIDES[1],
        metrics=(LABEL, TONE, PASSES, COST, LATENCY), compared=150,
        removed=("review-0990",), added=("review-1001", "review-1002"),
        worse=changes(worse, "worse"), better=changes(better, "better", 5000),
        inputs=("prompts/classify_sentiment.txt: 1a2b3c4d -> 9f8e7d6c",),
        notes=("baseline: 2 commits older",),
    )  # fmt: skip


def comparison():
    """A comparison with a pipeline of every kind."""
    side = SIDES[0]
    return Comparison(
        Revision("merge base with main", BASE), Revision("feature/shorter-prompt", HEAD),
        "degraded",
        (
            degraded(),
            PipelineComparison(
                "faq_answers", "no_worse", base=side, head=SIDES[1],
                metrics=(replace(LABEL, name="accuracy", outcome="degraded"), TONE),
                compared=80, accepted=("accuracy: the shorter answers are worth it (9f8e7d6c)",),
            ),
            PipelineComparison(
                "invoice_fields", "not_comparable", base=side, head=SIDES[1],
                differs=(QuestionDifference("judge", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"),
                         QuestionDifference("gate.threshold", "0.75", "0.8")),
            ),
            PipelineComparison("routing", "unchanged", base=side, head=SIDES[1]),
            PipelineComparison("translations", "inconclusive", new=True, head=SIDES[1],
                               notes=("the baseline has no such pipeline",)),
        ),
        notes=("pipeline old_router is gone",),
    )  # fmt: skip


def reply(label, value, reason):
    words = f'{{"sentiment": "{label}", "confidence": 0.9}}'
    return Reply(words, (Reason("label", value, reason), Reason("tone_of_voice", 0.95, "")))


def evidence(found):
    """Spreads, and replies of the worst cases; one of them in Arabic, one hostile, one too long."""
    rng = random.Random(7)
    graded = ScoreDistribution(
        "tone_of_voice",
        tuple(rng.betavariate(9, 2) for _ in range(150)),
        tuple(rng.betavariate(10, 2) for _ in range(150)),
    )
    label = ScoreDistribution("label", (1.0,) * 137 + (0.0,) * 13, (1.0,) * 127 + (0.0,) * 23)
    examples = {}
    for number, change in enumerate((*found.worse[:25], *found.better[:25])):
        text = [
            "The delivery came a day late, but the support team made up for it.",
            "الخدمة كانت جيدة لكن التوصيل تأخر كثيرا", HOSTILE, LONG,
        ][number % 4]  # fmt: skip
        examples[change.id] = Example(
            change.id,
            reply("neutral", 1.0, "as expected"),
            reply("negative", 0.0, "expected neutral, got negative"),
            text,
        )
    return ComparisonEvidence((label, graded), examples)


def hostile():
    """The worst that names and texts can be."""
    change = CaseChange(HOSTILE, 1.0, 0.0, {HOSTILE: (1.0, 0.0)})
    metric = replace(LABEL, name=HOSTILE, reason=HOSTILE)
    long = replace(TONE, name=LONG)
    found = PipelineComparison(
        HOSTILE, "degraded", base=replace(SIDES[0], model=HOSTILE), head=SIDES[1],
        metrics=(metric, long), differs=(QuestionDifference(HOSTILE, HOSTILE, LONG),), compared=1,
        removed=(HOSTILE, LONG), worse=(change, replace(change, id=LONG)), inputs=(HOSTILE,),
        notes=(HOSTILE, LONG), accepted=(HOSTILE,),
    )  # fmt: skip
    said = Reply(HOSTILE, (Reason(HOSTILE, 0.0, HOSTILE), Reason("x", None, LONG)), HOSTILE)
    known = {HOSTILE: Example(HOSTILE, said, said, HOSTILE), LONG: Example(LONG, None, said)}
    spread = ScoreDistribution(HOSTILE, (1.0, 0.0), (0.5,))
    whole = Comparison(
        Revision(HOSTILE, BASE), Revision(LONG, HEAD), "degraded", (found,), notes=(HOSTILE,)
    )
    return whole, {HOSTILE: ComparisonEvidence((spread,), known)}


def tables():
    """A session with tests of every kind and verdict."""
    checks = (
        CheckResult("mean(label) > 0.85", "fail", "0.847", 0.81, 0.88, 150),
        CheckResult("p95(latency) < 2s", "pass", "1.4s", None, 1.9, 150),
        CheckResult("rate(label < 0.5) < 5%", "inconclusive", "4.1%", 0.02, 0.08, 150, weak=True,
              note="needs n >= 620"),
    )  # fmt: skip
    lines = (
        TestLine("unit", "obvious_positive", "pass", 1.0, "",
             (CheckResult("sentiment", "pass", "positive"),)),
        TestLine("unit", "sarcasm", "fail", 0.0, "",
             (CheckResult("sentiment: negative", "fail", "positive"),)),
        TestLine("distributional", "label_quality", "fail", 0.847, "", checks),
        TestLine(
            "distributional", "no_regression", "inconclusive", None, "not decided by 150 cases"
        ),
        TestLine("integration", "loads_rows", "unverified", None, "no recorded reply"),
        TestLine("python", "test_refund_tone", "error", None, "the judge did not answer: 503"),
    )  # fmt: skip
    return [
        PipelineTable(
            "customer_sentiment", "2.1.0", lines,
            (ScoreRow("label", 0.847, 0.81, 0.88, 450, LABEL),
             ScoreRow("tone_of_voice", 0.958, 0.94, 0.97, 450, TONE),
             ScoreRow("hallucination", None, None, None, 0)),
            "compared with merge base with main", 450, 30, 12, 0.2,
        ),
        PipelineTable("faq_answers", None, (TestLine("unit", "greets", "pass", 1.0),), (), calls=3),
    ]  # fmt: skip


def run(number, *, kind="pipeline", cost=0.05, dirty=False, status="success", pipeline="demo"):
    day = f"2026-{10 + number // 28:02}-{number % 28 + 1:02}"
    commit = f"{number // 2 + 1:08x}" * 5
    wave = 0.86 + 0.02 * (number % 5) - (0.11 if number in (20, 21) else 0)
    return RunSummary(
        uid=f"uid-{kind}-{number}", run_id=f"{day}-001", kind=kind, pipeline=pipeline,
        started=f"{day}T10:15:00.000Z", commit=commit, branch="main", dirty=dirty,
        fingerprint="f" * 64, status=status, complete=status == "success", processed=150,
        validated=141, score=wave, cost=cost, duration=42.5, path=f"runs/x/{number}.json",
        blobs=[], scores={"label": wave, "tone_of_voice": 0.95 - 0.01 * (number % 3)},
        scored={"label": 150, "tone_of_voice": 150},
    )  # fmt: skip


def history(name="customer_sentiment", count=36):
    runs = [
        run(
            number,
            kind="test" if number % 3 == 0 else "pipeline",
            cost=None if number == 7 else 0.04 + 0.002 * (number % 7),
            dirty=number == 11,
            status="partial" if number == 21 else "success",
            pipeline=name,
        )
        for number in range(count)
    ]
    entries = tuple(
        LogEntry(
            f"v2.{number}.0", f"{number:x}" * 40, "prompts/classify_sentiment.txt",
            (f"{number:08x}" * 5,), f"2026-10-{number + 1:02}T09:00:00+02:00",
            "Ada" if number % 2 else "Grace", f"Ask for reasons, step {number}",
            measured=StoredScores(
                3, 3, 450, {"label": MeanScore(0.86 + number / 100, 450)}, 0.0004
            ),
        )
        for number in range(6, -1, -1)
    )  # fmt: skip
    log = FileLog("prompts/classify_sentiment.txt", entries, 9, shallow=False)
    return PipelineHistory(name, "2.1.0", log.path, tuple(reversed(runs)), log)


def overview():
    """Two pipelines, one of which never ran, and the latest comparison."""
    commit = Commit(HEAD, branch="main", time="2026-11-20T00:00:00+00:00", author="Ada", dirty=True)
    whole = comparison()
    silent = PipelineHistory("translations", None, "prompts/translate.txt", ())
    return Overview(
        "support-desk", commit, (history(), silent), "", whole,
        {"customer_sentiment": evidence(whole.pipelines[0])}, ("something to know",),
    )  # fmt: skip


def change_log():
    """Changes with approvals of every kind, and with none."""
    measured = StoredScores(2, 2, 300, {"label": MeanScore(0.871, 300)}, 0.0004)
    merge = Approval("merge", "Grace", "Merge branch 'shorter'", "c" * 40)
    said = Approval("trailer", "Linus", "Reviewed-by: Linus <linus@example.org>", HEAD)
    tag = Approval("tag", "Grace", "prompts/classify_sentiment@v2.3.0", HEAD)
    own = Approval("merge", "Ada", "Merge branch 'quick'", "d" * 40, own=True)
    one = LoggedChange(
        HEAD, "2026-11-20T09:00:00+00:00", "Ada", "Ask for reasons",
        "prompts/classify_sentiment.txt", "a" * 40, "v2.3.0", (merge, said, tag), measured,
    )  # fmt: skip
    two = replace(
        one, path="pipelines/customer_sentiment.yaml", approvals=(own,), version="g12345678"
    )
    three = replace(one, author="Eve", path=f"context/{LONG}.md", approvals=(), blob="", version="",
                    measured=StoredScores())  # fmt: skip
    return ChangeLog(HEAD, "2026-11-01T00:00:00Z", (one, two, three))
