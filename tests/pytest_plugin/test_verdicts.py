"""What becomes of tests that cannot be decided, asked or read."""

import json

import pytest

from tests.pytest_plugin.sessions import (
    ASKING,
    junit,
    loom,
    only,
    project_with,
    pytest_in,
    runs,
    units,
)
from tests.servers.openai_server import OpenAiServer, Reply, error

UNDECIDED = """\
distributional_tests:
  - {name: no_drop, type: regression, sample_size: 4}
  - name: quality
    type: statistical
    sample_size: 4
    on_inconclusive: warn
    assertions: ["mean(evaluation_scores) > 0.95"]
"""
DENIED = units(2) + UNDECIDED


@pytest.fixture
def refusing():
    """A server that knows no key."""
    with OpenAiServer(api_key="other") as running:
        yield running


def test_the_undecided_are_counted_apart_and_pass(tmp_path, server):
    project = project_with(tmp_path / "work", server, UNDECIDED)
    done = pytest_in(project, "--junitxml=out.xml", "-v").expect(0, inconclusive=2)
    assert "distributional::no_drop INCONCLUSIVE" in done.out
    assert "inconclusive: distributional::no_drop: there is no baseline" in done.out
    found = {name: (outcome, props) for name, outcome, props in junit(project / "out.xml")}
    assert found["no_drop"][0] == found["quality"][0] == "passed"
    assert found["quality"][1]["loom_verdict"] == "inconclusive"


def test_strict_fails_the_undecided(tmp_path, server):
    project = project_with(tmp_path / "work", server, UNDECIDED)
    done = pytest_in(project, "--loom-strict", "--junitxml=out.xml").expect(1, failed=2)
    assert "no_drop: inconclusive - there is no baseline" in done.out
    assert {outcome for _, outcome, _ in junit(project / "out.xml")} == {"failure"}


def test_a_test_may_be_strict_by_itself(tmp_path, server):
    tests = UNDECIDED.replace("sample_size: 4}", "sample_size: 4, strict: true}")
    project = project_with(tmp_path / "work", server, tests)
    pytest_in(project).expect(1, failed=1, inconclusive=1)


def test_the_unverified_are_named_and_skipped(tmp_path, refusing):
    project = project_with(tmp_path / "work", refusing, DENIED)
    done = pytest_in(project, "--junitxml=out.xml", "-v").expect(0, unverified=4)
    assert "unit::case_000 UNVERIFIED" in done.out
    assert done.out.count("unverified: unit::case_000: 1 of 1 replies are missing") == 1
    assert "the provider does not accept the key in .loom/config.yaml:2:" in done.out
    assert refusing.calls <= 8  # who was told by the first asks no more
    found = junit(project / "out.xml")
    assert {outcome for _, outcome, _ in found} == {"skipped"}
    assert {props["loom_verdict"] for *_, props in found} == {"unverified"}
    run = only(runs(project))
    assert (run["complete"], run["results"]["cause"]) == (False, "world")
    assert {test["verdict"] for test in run["tests"]} == {"unverified"}


def test_strict_fails_the_unverified(tmp_path, refusing):
    project = project_with(tmp_path / "work", refusing, DENIED)
    done = pytest_in(project, "--loom-strict").expect(1, failed=4)
    assert "the provider does not accept the key" in done.out
    assert "Traceback" not in done.out


def test_one_model_out_of_reach_stops_no_other(tmp_path, server):
    """Two pipelines, one provider that refuses: the other's tests run."""

    def respond(request):
        return error(401, "wrong key") if request["model"] == "other" else answer(request)

    answer, server.respond = server.respond, respond
    price = "input_price: 1, output_price: 1"
    more = f"  other: {{base_url: '{server.url}', api_key: k, {price}}}\n"
    second = ASKING.replace("name: demo", "name: second").replace("model: local", "model: other")
    project = project_with(
        tmp_path / "work",
        server,
        units(6),
        config=more,
        **{
            "pipelines/second.yaml": second,
            "tests/a_test.yaml": f"pipeline: second\n{units(6)}",
        },
    )
    pytest_in(project).expect(0, passed=6, unverified=6)


BROKEN = """\
unit_tests:
  - name: a
    input: {review: x}
    assertions: ["evaluation_scor > 0.9", "output.x >"]
  - name: b
    inptu: {review: x}
"""


def test_a_broken_file_gives_a_line_a_fault_and_runs_nothing(tmp_path, server):
    project = project_with(tmp_path / "work", server, BROKEN)
    done = pytest_in(project)
    assert done.code == 2
    for fault in (
        "tests/demo_test.yaml:5:19: ",
        "tests/demo_test.yaml:5:",
        "tests/demo_test.yaml:7:5: ",
        "hint: did you mean 'evaluation_score'?",
    ):
        assert fault in done.out, fault
    assert "Traceback" not in done.out
    assert server.calls == 0
    assert not runs(project)


def test_loom_test_says_the_same_of_a_broken_file(tmp_path, server):
    project = project_with(tmp_path / "work", server, BROKEN)
    done = loom(project, "test")
    assert done.code == 2
    lines = [line for line in done.error.splitlines() if line.startswith("error: ")]
    assert len(lines) >= 3
    assert all(line.startswith("error: tests/demo_test.yaml:") for line in lines)
    assert done.out == ""
    assert server.calls == 0


def test_another_files_fault_does_not_hide_the_good_ones(tmp_path, server):
    project = project_with(
        tmp_path / "work", server, units(2), **{"tests/bad_test.yaml": "pipeline: demo\n"}
    )
    done = pytest_in(project, "--continue-on-collection-errors")
    assert done.code == 1
    assert done.counts == {"passed": 2, "error": 1}
    assert "tests/bad_test.yaml:1:1: no tests" in done.out


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"tests/demo_test.yaml": f"pipeline: dmeo\n{units(2)}"},
            "tests/demo_test.yaml:1:1: there is no pipeline dmeo",
        ),
        (
            {"pipelines/demo.yaml": ASKING.replace("quality_gate: all_pass", "quality_gat: x")},
            "pipelines/demo.yaml:17:3: ",
        ),
        (
            {"pipelines/demo.yaml": ASKING.replace("prompts/classify", "prompts/none")},
            "pipelines/demo.yaml:9:3: transform.prompt: ",
        ),
        (
            {"prompts/classify.txt": "Review: {{ input.review"},
            "prompts/classify.txt:1:",
        ),
        (
            {"pipelines/demo.yaml": ASKING.replace("type: exact_match", "type: exact_mach")},
            "pipelines/demo.yaml:",
        ),
    ],
    ids=["no pipeline", "broken pipeline", "no prompt", "broken prompt", "no evaluator"],
)
def test_a_pipeline_that_cannot_be_used_makes_its_tests_errors(tmp_path, server, files, said):
    project = project_with(tmp_path / "work", server, units(2), **files)
    done = pytest_in(project).expect(1, failed=2)
    assert done.out.count(said) >= 2, done.out
    assert "case_000: error - " in done.out
    assert "Traceback" not in done.out
    assert server.calls == 0


def test_a_missing_data_set_makes_only_its_tests_errors(tmp_path, server):
    tests = units(1) + UNDECIDED
    project = project_with(
        tmp_path / "work",
        server,
        units(1),
        **{"tests/data_test.yaml": f"pipeline: demo\ndataset: tests/none.csv\n{tests}"},
    )
    done = pytest_in(project).expect(1, passed=2, failed=2)
    assert "tests/none.csv" in done.out


def test_a_failure_tells_a_stranger_what_to_change(tmp_path, server):
    tests = units(1, "broken") + "    assertions: [evaluation_score > 0.5]\n"
    project = project_with(tmp_path / "work", server, tests)
    done = pytest_in(project).expect(1, failed=1)
    wanted = [
        "unit::case_000",
        "prompt: prompts/classify.txt (g",
        "[FAIL] sentiment == 'positive' (actual: 'negative')",
        "[FAIL] evaluation_score > 0.5 (actual: 0)",
        "model local",
        "review: number 0 is broken",
        "sentiment: negative",
        "label: 0.00 < threshold 0.70: 'negative' ≠ 'positive'",
        "FAILED tests/demo_test.yaml::unit::case_000 - sentiment == ",
    ]
    places = [done.out.find(line) for line in wanted]
    assert -1 not in places, wanted[places.index(-1)]
    assert places == sorted(places)
    assert "/loomgit/" not in done.out


def test_a_test_that_was_never_answered_is_not_in_the_report_as_passed(tmp_path, refusing):
    project = project_with(tmp_path / "work", refusing, units(2))
    pytest_in(project, "--loom-report=out.json").expect(0, unverified=2)
    table = only(json.loads((project / "out.json").read_text())["pipelines"])
    assert {line["verdict"] for line in table["lines"]} == {"unverified"}


def test_a_data_set_that_is_not_there_is_told_where_it_is_named(tmp_path, server):
    tests = (
        "dataset: data/reviewz.csv\n"
        "distributional_tests:\n"
        "  - {name: quality, type: statistical, assertions: [mean(evaluation_score) > 0.1]}\n"
    )
    project = project_with(tmp_path / "work", server, tests)
    done = pytest_in(project).expect(1, failed=1)
    assert "tests/demo_test.yaml:2:1: data/reviewz.csv: no such file" in done.out
    told = loom(project, "validate", "demo", "--offline")
    assert told.code == 2
    assert "tests/demo_test.yaml:2:1: dataset: data/reviewz.csv: no such file" in told.out


def test_an_input_that_the_prompt_does_not_know_is_told_before_any_model(tmp_path, server):
    tests = (
        "unit_tests:\n  - {name: typo, input: {reviw: great}, expected: {sentiment: positive}}\n"
    )
    done = pytest_in(project_with(tmp_path / "work", server, tests)).expect(1, failed=1)
    assert "the record has no field 'review'; it has 'reviw'" in done.out
    assert "no model was called" in done.out
    assert server.calls == 0


def test_a_refusal_is_the_prompts_fault_and_costs_what_it_costs(tmp_path, server):
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    server.respond = lambda _: Reply(200, {"choices": choices, "model": "local", "usage": usage})
    project = project_with(tmp_path / "work", server, units(2))
    done = pytest_in(project).expect(1, failed=2)
    assert "the model refuses: I cannot help with that." in done.out
    assert "cost $0.004, 2 model calls" in done.out
    assert only(runs(project))["cost"]["total"] == pytest.approx(0.004)


def test_a_judge_that_gave_no_answer_is_asked_again_when_it_is_well(tmp_path, server):
    judged = ASKING.replace(
        "  quality_gate:",
        "    - {name: sense, type: custom_criteria, config: {criteria: It makes sense.}}\n"
        "  quality_gate:",
    )
    config = "defaults: {judge_model: local}\n"
    project = project_with(tmp_path / "work", server, units(1), judged, config)
    well = server.respond

    def without_judge(request):
        asked = "Review:" in request["messages"][-1]["content"]
        return well(request) if asked else "I like turtles."

    server.respond = without_judge
    done = pytest_in(project).expect(0, unverified=1)
    assert "the judge local gave no usable answer" in done.out
    server.respond = well
    done = pytest_in(project, "-W", "error").expect(0, passed=1)
    assert "warning" not in done.out
