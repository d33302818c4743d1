"""The runs of a version in groups: no score is a mean over runs."""

import pytest
from msgspec.structs import replace

from loomgit.domain.log import LatestRun, MeanScore, ScoredRun
from loomgit.domain.runs import Cost, Results, ScoreSummary
from loomgit.history.result_groups import group_results
from loomgit.history.store import summarize
from tests.runs import make_run


def run(uid, *, mean=0.9, n=10, cost=0.5, fingerprint="f" * 64, **changes):
    """The summary of a run with `n` scores, over `n` records; `uid` ends with the minute."""
    made = make_run(uid, **{"started": f"2026-11-21T10:{uid[-2:]}:00.000Z", **changes})
    made = replace(
        made,
        config=replace(made.config, fingerprint=fingerprint),
        evaluation={"label": ScoreSummary(mean, 0.1, 0.0, 1.0, n, 0, 0.7, n)},
        results=Results("success", n, n),
        cost=Cost(cost, cost or 0.0, {}, {}, n, 0, 0),
    )
    return summarize(made, f"runs/x/{uid}.json")


def own(*rows, **options):
    return group_results([(row, ()) for row in rows], **options)


def label(mean, n=10):
    return {"label": MeanScore(mean, n)}


def test_the_first_complete_run_counts_and_later_ones_are_further_runs():
    found = own(
        run("r-03", mean=0.2),
        run("r-01", mean=0.9, complete=False),
        run("r-02", mean=0.5, n=30),
    )
    (group,) = found.groups
    assert found.scores == group.scores == label(0.5, 30)
    assert group.figure.uid == "r-02"
    assert [each.uid for each in group.further] == ["r-01", "r-03"]
    assert (found.runs, found.complete, found.cases) == (3, 2, 50)


def test_a_run_without_scores_is_no_measurement():
    found = own(run("r-01", mean=None, n=0, cost=None), run("r-02", mean=0.5, cost=0.2))
    assert found.scores == label(0.5)
    assert found.cost_per_record == 0.02
    assert found.latest == LatestRun("2026-11-21-001", "r-02", "2026-11-21T10:02:00.000Z")


def test_the_cost_covers_all_runs_whose_cost_is_known():
    found = own(run("r-01", n=10, cost=1.0), run("r-02", n=30, cost=1.0, complete=False))
    assert found.cost_per_record == 0.05
    assert own(run("r-01", cost=None)).cost_per_record is None


def test_pipelines_and_kinds_have_groups_of_their_own():
    found = own(
        run("r-01", mean=0.1, kind="test"), run("r-02", mean=0.2), run("r-03", pipeline="other")
    )
    assert [(g.pipeline, g.kind) for g in found.groups] == [
        ("demo", "test"), ("demo", "pipeline"), ("other", "pipeline"),
    ]  # fmt: skip
    assert found.scores == label(0.1)
    assert found.pipelines == ("demo", "other")


def test_other_inputs_come_after_the_versions_own_newest_first():
    rows = [
        (run("r-01", fingerprint="a" * 64), ("model x",)),
        (run("r-02", mean=0.5), ()),
        (run("r-03", fingerprint="b" * 64), ("model y",)),
        (run("r-04", fingerprint="c" * 64), ("model y",)),
    ]
    found = group_results(rows)
    assert [group.differs for group in found.groups] == [
        (), ("model y",), ("model y",), ("model x",),
    ]  # fmt: skip
    assert found.scores == label(0.5)
    assert [group.own for group in found.groups] == [True, False, False, False]


def test_without_results_of_its_own_a_version_has_no_score():
    found = group_results([(run("r-01"), ("model x",))])
    assert (found.scores, found.own, found.runs) == ({}, [], 1)
    nothing = group_results([])
    assert (nothing.runs, nothing.latest, nothing.cost_per_record) == (0, None, None)


def test_what_was_reported_stays_even_if_its_run_is_gone_or_an_earlier_one_appears():
    shown = ScoredRun("id", "r-05", "2026-11-21T10:05:00.000Z", "a" * 40, scores=label(0.7))
    reported = {("demo", "pipeline"): shown}
    assert group_results([], reported).scores == label(0.7)
    found = own(run("r-01", mean=0.1), run("r-05", mean=0.7), reported=reported)
    assert found.scores == label(0.7)
    assert [each.uid for each in found.groups[0].further] == ["r-01"]


@pytest.mark.parametrize("kind", ["test", "pipeline"])
def test_the_order_of_the_reports_stays(kind):
    other = {"test": "pipeline", "pipeline": "test"}[kind]
    shown = ScoredRun("id", "r-05", "2026-11-21T10:05:00.000Z", "a" * 40, scores=label(0.7))
    found = own(run("r-01", mean=0.1, kind=other), reported={("demo", kind): shown})
    assert [group.kind for group in found.groups] == [kind, other]
