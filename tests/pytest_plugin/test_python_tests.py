"""Prompt tests in Python: the fixture `loom` and its marker."""

import pytest

from tests.pytest_plugin.sessions import (
    only,
    project_with,
    pytest_in,
    records,
    respond,
    runs,
    units,
)
from tests.repos import commit, git
from tests.servers.openai_server import OpenAiServer, error

PYTHON = """\
import asyncio
import pytest


@pytest.mark.loom(pipeline="demo")
def test_by_marker(loom):
    result = loom.run_case({"review": "this is great", "expected": "positive"}, samples=3)
    assert result.output["sentiment"] == "positive"
    assert (len(result.outputs), result.scores, result.score) == (3, [1.0] * 3, 1.0)
    assert result.passed
    assert result.cost > 0
    assert "positive" in result.reasons("label")[0]
    loom.assert_no_regression()


def test_by_name(loom):
    pipeline = loom.pipeline("demo")
    for review, expected in (("broken", "negative"), ("love", "positive")):
        assert pipeline.run_case({"review": review, "expected": expected}).passed
    pipeline.assert_no_regression(max_drop=0.02)


def test_within_a_running_loop(loom):
    async def ask():
        return loom.pipeline("demo").run_case({"review": "hate", "expected": "negative"})

    assert asyncio.run(ask()).output == {"sentiment": "negative", "confidence": 0.9}


def test_that_fails(loom):
    result = loom.pipeline("demo").run_case({"review": "broken", "expected": "positive"})
    assert result.score > 0.5


def test_that_asks_nothing(loom):
    pass
"""


def project_of(folder, server, text, tests=None):
    return project_with(folder, server, tests or units(1), **{"tests/test_prompts.py": text})


def test_the_fixture_asks_judges_and_keeps(tmp_path, server):
    project = project_of(tmp_path / "work", server, PYTHON)
    done = pytest_in(project).expect(1, passed=5, failed=1)
    assert "assert 0.0 > 0.5" in done.out
    assert "/loomgit/" not in done.out
    run = only(runs(project))
    verdicts = {test["name"]: test["verdict"] for test in run["tests"]}
    assert verdicts == {
        "unit::case_000": "pass",
        "python::test_by_marker": "pass",
        "python::test_by_name": "pass",
        "python::test_within_a_running_loop": "pass",
        "python::test_that_fails": "fail",
    }
    assert run["tests"][1]["file"] == "tests/test_prompts.py"
    assert len(records(project, run)) == 1 + 3 + 2 + 1 + 1
    assert run["complete"]
    calls = server.calls
    pytest_in(project, "-n", "2").expect(1, passed=5, failed=1)
    assert server.calls == calls


def test_it_runs_without_any_test_file(tmp_path, server):
    project = project_of(tmp_path / "work", server, PYTHON)
    (project / "tests" / "demo_test.yaml").unlink()
    pytest_in(project, "-k", "marker").expect(0, passed=1, deselected=4)
    assert only(runs(project))["complete"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("loom.pipeline('dmeo')", "there is no pipeline dmeo"),
        (
            "loom.pipeline()",
            "no pipeline: use loom.pipeline(name) or @pytest.mark.loom(pipeline=na",
        ),
        (
            "loom.pipeline('demo').run_case({'text': 'x'}).output",
            "test_it[1]: no usable reply: ",
        ),
    ],
)
def test_a_mistake_is_a_line_and_no_traceback_of_ours(tmp_path, server, line, said):
    project = project_of(tmp_path / "work", server, f"def test_it(loom):\n    {line}\n")
    done = pytest_in(project, "tests/test_prompts.py").expect(1, failed=1)
    assert said in done.out
    assert "/loomgit/" not in done.out


def test_what_cannot_be_asked_is_unverified(tmp_path):
    with OpenAiServer(lambda _: error(401, "wrong key")) as refusing:
        project = project_of(tmp_path / "work", refusing, PYTHON)
        done = pytest_in(project).expect(0, passed=1, unverified=5)
        assert "unverified: python::test_by_name: demo: local: the provider does not" in done.out
        pytest_in(project, "--loom-strict").expect(1, passed=1, failed=5)


def test_a_regression_is_asserted_against_the_baseline(tmp_path, server):
    text = (
        "def test_it(loom):\n"
        "    pipeline = loom.pipeline('demo')\n"
        "    for n in range(30):\n"
        "        pipeline.run_case({'review': f'{n} is broken', 'expected': 'negative'})\n"
        "    pipeline.assert_no_regression()\n"
    )
    server.respond = hurried
    project = project_of(tmp_path / "work", server, text)
    pytest_in(project, "tests/test_prompts.py").expect(0, passed=1)
    git(project, "checkout", "-q", "-b", "hurry")
    prompt = (project / "prompts/classify.txt").read_text() + "Hurry.\n"
    commit(project, {"prompts/classify.txt": prompt})
    done = pytest_in(project, "tests/test_prompts.py").expect(1, failed=1)
    assert "demo got worse than " in done.out
    assert "label: 1.000 -> 0.000" in done.out
    pytest_in(project, "tests/test_prompts.py", "--loom-baseline=none").expect(0, passed=1)


ASSERTING = """\
def test_it(loom):
    pipeline = loom.pipeline('demo')
    for n in range({count}):
        pipeline.run_case({{'review': f'{{n}} is broken', 'expected': 'negative'}})
    pipeline.assert_no_regression()
"""


def test_a_whole_run_hides_no_results_of_a_python_test(tmp_path, server):
    """The baseline has a complete run without the cases, and a part with them."""
    server.respond = hurried
    project = project_of(tmp_path / "work", server, ASSERTING.format(count=20), units(3))
    pytest_in(project, "tests/test_prompts.py").expect(0, passed=1)
    pytest_in(project, "tests/demo_test.yaml").expect(0, passed=3)
    git(project, "checkout", "-q", "-b", "hurry")
    prompt = (project / "prompts/classify.txt").read_text() + "Hurry.\n"
    commit(project, {"prompts/classify.txt": prompt})
    done = pytest_in(project, "tests/test_prompts.py").expect(1, failed=1)
    assert "label: 1.000 -> 0.000" in done.out


def hurried(request):
    said = respond(request)
    worse = "Hurry" in request["messages"][-1]["content"]
    return said.replace("negative", "positive") if worse else said


@pytest.mark.parametrize(
    ("count", "baseline", "why"),
    [(20, "none", "comparisons are off"), (0, "HEAD~1", "has no results of these cases")],
)
def test_what_cannot_be_compared_is_told_and_fails_where_that_is_strict(
    tmp_path, server, count, baseline, why
):
    project = project_of(tmp_path / "work", server, ASSERTING.format(count=count))
    pytest_in(project, "tests/demo_test.yaml").expect(0, passed=1)
    prompt = (project / "prompts/classify.txt").read_text() + "Be brief.\n"
    commit(project, {"prompts/classify.txt": prompt})
    arguments = (f"--loom-baseline={baseline}", "--loom-samples=1")
    done = pytest_in(project, *arguments)
    assert (done.code, done.counts["passed"]) == (0, 2)
    if count:
        assert f"warning: python::test_it: demo is no worse than the baseline: {why}" in done.out
    strict = pytest_in(project, *arguments, "--loom-strict")
    assert strict.code == 1
    assert why in strict.out


def test_the_invocation_goes_before_the_tests_own_words(tmp_path, server):
    project = project_of(
        tmp_path / "work",
        server,
        "def test_it(loom):\n"
        "    case = {'review': 'great', 'expected': 'positive'}\n"
        "    assert len(loom.pipeline('demo').run_case(case, samples=2).outputs) == 4\n",
    )
    pytest_in(project, "tests/test_prompts.py", "--loom-samples=4").expect(0, passed=1)
    assert server.calls == 4


OWN_WORD = """\
import pytest

def ask(loom, expected):
    case = {"review": "this is great", "expected": expected}
    return loom.pipeline("demo").run_case(case)

@pytest.mark.xfail(reason="known", strict=True)
def test_known(loom):
    assert ask(loom, "negative").passed

@pytest.mark.xfail(strict=True)
def test_mended(loom):
    assert ask(loom, "positive").passed

def test_not_today(loom):
    ask(loom, "positive")
    pytest.skip("not today")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_what_a_test_says_of_itself_stands(tmp_path, server, workers):
    project = project_of(tmp_path / "work", server, OWN_WORD)
    done = pytest_in(project, "-rA", *workers).expect(1, passed=1, xfailed=1, skipped=1, failed=1)
    assert "not today" in done.out
    assert "test_known - known" in done.out
    run = only(runs(project))
    told = {test["name"]: (test["verdict"], test["message"]) for test in run["tests"]}
    assert told["python::test_known"] == ("pass", "failed as expected: known")
    assert told["python::test_not_today"] == ("unverified", "not today")
    assert told["python::test_mended"][0] == "fail"


def test_a_failure_shows_the_replies_behind_it(tmp_path, server):
    text = (
        "def test_it(loom):\n"
        "    pipeline = loom.pipeline('demo')\n"
        "    result = pipeline.run_case({'review': 'broken', 'expected': 'positive'})\n"
        "    assert result.passed\n"
    )
    project = project_of(tmp_path / "work", server, text)
    done = pytest_in(project, "tests/test_prompts.py").expect(1, failed=1)
    shown = (
        "where False = <case tests/test_prompts.py::test_it[1]: score 0, {'sentiment': 'negative'"
    )
    assert shown in done.out
    block = done.out.partition("prompt replies, latest first")[2]
    assert "case tests/test_prompts.py::test_it[1], sample 1, model " in block
    assert "review: broken" in block
    assert "label: 0" in block
    assert "prompt replies" in pytest_in(project, "-n", "2").out
    assert "prompt replies" not in pytest_in(project, "--show-capture=no").out
