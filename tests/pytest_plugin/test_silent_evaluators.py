"""Evaluators that have no score of exactly the bad replies: none of it is a pass."""

import pytest

from tests.projects import PIPELINE, make_project
from tests.pytest_plugin.sessions import loom, only, runs
from tests.repos import commit, git

EVALUATORS = {
    "raises": "    raise RuntimeError('cannot tell')",
    "not a number": "    return float('nan')",
    "none": "    return None",
    "text": "    return 'bad'",
}
OWN = PIPELINE.replace("type: exact_match", "type: checks/own.py:score").replace(
    "      config: {field: sentiment, reference_field: expected}\n", ""
)
LAX = OWN.replace(
    "  quality_gate", "    - {name: lax, type: length, config: {max: 9999}}\n  quality_gate"
)
REVIEWS = "review_id,review,expected\n" + "".join(
    f"r-{n},number {n} is {'great' if n % 4 else 'bad'},positive\n" for n in range(60)
)
SUITE = """\
pipeline: demo
distributional_tests:
  - {name: quality, type: statistical, assertions: ["mean(evaluation_scores) > 0.8"]}
  - {name: cheap, type: cost_budget, max_cost: 9}
"""


def source(answer: str) -> str:
    return (
        "def score(output, record):\n"
        "    if output['sentiment'] == record['expected']:\n"
        "        return 1.0\n"
        f"{answer}\n"
    )


@pytest.mark.parametrize("pipeline", [OWN, LAX], ids=["alone", "with a lax one"])
@pytest.mark.parametrize("answer", EVALUATORS.values(), ids=EVALUATORS)
def test_a_test_of_scores_is_an_error_that_names_the_evaluator(tmp_path, answer, pipeline):
    project = make_project(
        tmp_path / "work",
        **{
            "pipelines/demo.yaml": pipeline,
            "checks/own.py": source(answer),
            "data/reviews.csv": REVIEWS,
            "tests/demo_test.yaml": SUITE,
        },
    )
    done = loom(project, "test")
    assert done.code == 1, done.out
    assert "15 of 60 replies have no score: label: checks/own.py:score" in done.out
    assert "1 of 2 tests failed" in done.out
    (case, *_) = [c for c in only(runs(project))["cases"] if not c["passed"]]
    assert case["scores"]["label"] == [None]


def test_a_few_replies_without_a_score_are_allowed(tmp_path):
    few = REVIEWS.replace("bad,positive", "great,positive").replace("number 7 is great", "7 is bad")
    project = make_project(
        tmp_path / "work",
        **{
            "pipelines/demo.yaml": OWN,
            "checks/own.py": source(EVALUATORS["raises"]),
            "data/reviews.csv": few,
            "tests/demo_test.yaml": SUITE,
        },
    )
    done = loom(project, "test")
    assert done.code == 0, done.out
    assert "All tests passed (2/2)" in done.out


@pytest.mark.parametrize("answer", ["raises", "not a number"])
def test_a_comparison_sees_the_gap_of_one_side(tmp_path, answer):
    project = make_project(
        tmp_path / "work",
        **{
            "pipelines/demo.yaml": OWN,
            "checks/own.py": source(EVALUATORS[answer]),
            "data/reviews.csv": REVIEWS.replace(" is bad", " is love"),
            "tests/demo_test.yaml": SUITE + "  - {name: as_before, type: regression}\n",
        },
    )
    git(project, "checkout", "--quiet", "-b", "change")
    worse = "### positive\nCue words: great\n### negative\nCue words: love\n"
    commit(project, {"context/taxonomy.md": worse})
    done = loom(project, "compare", "--run-missing", "--strict")
    assert done.code == 1, done.out
    assert "15 samples (25% of a side) have no score" in done.out
    assert loom(project, "ci", "--dry-run").code == 1
