from loomgit.domain.spending import RunCosts, SpendingReport
from loomgit.report.cost import spending_document, spending_lines

PAID = RunCosts(2, 2000, 500, 500_000, 60_000, 0.11, 0.11, 0, 0.03)
UNSPLIT = RunCosts(1, None, None, None, None, None, 0.5, 1, None)
WHOLE = RunCosts(3, 4000, 500, 800_000, 90_000, None, 0.61, 7, None)


def spending(total, models, days):
    return SpendingReport("faq", "2.1.0", "2026-11-15T09:00:00Z", 1, total, {}, models, days)


def test_what_was_spent_is_told_by_stage_and_model_then_by_day():
    models = {("transform", "gpt-4o-mini"): PAID, ("evaluate", "gpt-4o"): UNSPLIT}
    lines = list(spending_lines(spending(WHOLE, models, {"2026-11-20": PAID})))
    assert lines == [
        "Cost of: faq (v2.1.0) since 2026-11-15T09:00:00Z",
        "Runs: 3, 1 of them test runs",
        "",
        "STAGE      MODEL        CALLS  CACHED  INPUT    OUTPUT  COST             SAVED",
        "Transform  gpt-4o-mini  2,000  500     500,000  60,000  $0.11            $0.03",
        "Evaluate   gpt-4o       -      -       -        -       $0.50 + unknown  -",
        "",
        "DAY         RUNS  CALLS  CACHED  INPUT    OUTPUT  COST             SAVED",
        "2026-11-20  2     2,000  500     500,000  60,000  $0.11            $0.03",
        "Total       3     4,000  500     800,000  90,000  $0.61 + unknown  unknown",
        "",
        "Total Cost: unknown",
        "  the known part is $0.61; 7 calls have no known price (set it under `models:` in "
        ".loom/config.yaml)",
        "-: test runs and runs of older Loom versions store only the cost of each stage.",
    ]


def test_the_document_has_one_object_a_line():
    found = spending_document(spending(PAID, {("transform", "m"): PAID}, {"2026-11-20": PAID}))
    (model,), (day,) = found["models"], found["days"]
    assert (model["stage"], model["model"], day["day"]) == ("transform", "m", "2026-11-20")
    figures = {name: model[name] for name in ("calls", "cached", "input_tokens", "output_tokens")}
    assert figures == {
        "calls": 2000,
        "cached": 500,
        "input_tokens": 500_000,
        "output_tokens": 60_000,
    }
