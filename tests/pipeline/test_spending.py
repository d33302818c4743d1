import pytest

from loomgit.domain.runs import Cost, ModelCost
from loomgit.pipeline.spending import costs_by_model, sum_runs
from tests.runs import make_run


def run(*models, day=1, kind="pipeline", judges=None, **changes):
    known = sum(model.known for model in models)
    figures = {
        "total": None if any(m.cost is None for m in models) else known,
        "known": known,
        "breakdown": {"transform": known, "evaluate": 0.0},
        "tokens": {"input": sum(m.input for m in models), "output": sum(m.output for m in models)},
        "calls": sum(m.calls for m in models),
        "cached": sum(m.hits for m in models),
        "unpriced": sum(m.unpriced for m in models),
        "models": models,
    }
    return make_run(
        cost=Cost(**{**figures, **changes}),
        started=f"2026-11-{day:02}T10:00:00.000Z",
        kind=kind,
        judges=judges or {},
    )


ASK = ModelCost("transform", "m", "m-1", 10, 5, 1000, 100, 0, 2.0, 2.0, 0, 1.0)
JUDGE = ModelCost("evaluate", "j", "j", 10, 0, 500, 50, 0, 3.0, 3.0, 0, 0.0)
UNKNOWN = ModelCost("transform", "x", "x", 4, 0, 40, 4, 0, None, 0.0, 4, 0.0)


def test_runs_add_up_by_stage_model_and_day():
    found = sum_runs([run(ASK, JUDGE), run(ASK, day=2), run(ASK, day=2)], "demo", "1.0")
    assert (found.total.runs, found.total.cost, found.total.saved) == (3, 9.0, 3.0)
    assert (found.total.calls, found.total.hits, found.total.input) == (40, 15, 3500)
    assert found.stages["transform"].cost == 6.0
    assert found.stages["evaluate"].cost == 3.0
    assert {name: spend.cost for name, spend in found.models.items()} == {
        ("transform", "m-1"): 6.0,
        ("evaluate", "j"): 3.0,
    }
    assert {day: (spend.runs, spend.cost) for day, spend in found.days.items()} == {
        "2026-11-01": (1, 5.0),
        "2026-11-02": (2, 4.0),
    }


def test_one_model_under_two_names_is_one_line_and_one_run():
    again = ModelCost("transform", "other", "m-1", 1, 0, 1, 1, 0, 0.5, 0.5)
    (spend,) = sum_runs([run(ASK, again)], "demo", None).models.values()
    assert (spend.runs, spend.calls, spend.cost) == (1, 11, 2.5)


def test_an_unknown_price_makes_sums_unknown_and_leaves_what_is_known():
    total = sum_runs([run(ASK, UNKNOWN)], "demo", None).total
    assert (total.cost, total.known, total.unpriced) == (None, 2.0, 4)


def test_no_runs_are_nothing_and_not_unknown():
    found = sum_runs([], "demo", None)
    assert (found.total.runs, found.total.cost, found.models) == (0, 0.0, {})


def test_a_run_without_a_split_is_the_transforms_where_nothing_was_judged():
    old = run(ASK, models=())
    ((name, spend),) = costs_by_model(old).items()
    assert name == ("transform", "embedded/icl")
    assert (spend.calls, spend.input, spend.cost) == (10, 1000, 2.0)
    assert spend.saved is None, "what kept replies saved was not noted"


@pytest.mark.parametrize("evaluate", [0.5, None])
def test_a_run_without_a_split_that_was_judged_keeps_only_its_costs_apart(evaluate):
    breakdown = {"transform": 1.5, "evaluate": evaluate}
    parts = costs_by_model(run(ASK, models=(), breakdown=breakdown, judges={"tone": ["judge-1"]}))
    assert parts["transform", "embedded/icl"].cost == 1.5
    assert parts["evaluate", "judge-1"].cost == evaluate
    assert {spend.calls for spend in parts.values()} == {None}


def test_test_runs_are_counted_and_told():
    found = sum_runs([run(ASK), run(ASK, kind="test")], "demo", None)
    assert (found.tests, found.total.runs) == (1, 2)
