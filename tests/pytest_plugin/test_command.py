"""`loom test`: the same tests, printed as the specification shows them."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.projects import make_project
from tests.pytest_plugin.sessions import (
    ASKING,
    environment,
    loom,
    only,
    project_with,
    runs,
    units,
)
from tests.repos import commit, git
from tests.servers.openai_server import OpenAiServer, error

ALL = (
    units(3)
    + """\
distributional_tests:
  - name: quality
    type: statistical
    sample_size: 4
    assertions:
      - mean(evaluation_scores) > 0.5
      - std(evaluation_scores) < 0.6
  - {name: cost_check, type: cost_budget, sample_size: 4, max_cost: 2.50}
integration_tests:
  - {name: whole, steps: [{extract: 4 records}], assertions: [records_loaded == 4, total_cost < 1]}
"""
)


@pytest.fixture
def project(tmp_path, server):
    return project_with(tmp_path / "work", server, ALL)


def test_the_lines_and_their_order_are_specified(project):
    done = loom(project, "test", "demo")
    assert done.code == 0, done.error
    shape = re.sub(r"(?<=actual: )\S+?(?=\))", "X", done.out)
    assert shape == (
        "Running tests for: demo (v1.0.0)\n"
        "\n"
        "Unit Tests:\n"
        "  ✅ case_000 (score: 1.00)\n"
        "  ✅ case_001 (score: 1.00)\n"
        "  ✅ case_002 (score: 1.00)\n"
        "\n"
        "Distributional Tests:\n"
        "  ✅ mean_score > 0.5 (actual: X) [weak pass]\n"
        "  ✅ std_score < 0.6 (actual: X)\n"
        "  ✅ cost per 1,000 records <= $2.50 (actual: X) [weak pass]\n"
        "\n"
        "Integration Tests:\n"
        "  ✅ whole\n"
        "\n"
        "All tests passed (7/7)\n"
    ), done.out
    assert only(runs(project))["kind"] == "test"


def test_a_failure_is_exit_1_and_told_below(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(2) + units(1, "broken", first=2)[12:])
    done = loom(project, "test")
    assert done.code == 1
    assert "  ❌ case_002 (score: 0.00): sentiment == 'positive' (actual: 'negative')\n" in done.out
    assert "1 of 3 tests failed (2/3 passed)\n" in done.out
    assert "review: number 2 is broken" in done.out.partition("Failures:")[2]
    quiet = loom(project, "test", "-q")
    assert "Failures:" not in quiet.out
    assert "1 of 3 tests failed (2/3 passed)\n" in quiet.out


def test_json_is_one_document(project):
    done = loom(project, "test", "--json")
    table = only(json.loads(done.out)["pipelines"])
    assert [line["verdict"] for line in table["lines"]] == ["pass"] * 6
    assert (table["calls"], done.code) == (7, 0)


def test_what_stands_behind_the_dashes_is_pytests(project):
    done = loom(project, "test", "--", "-k", "case_001 or whole")
    assert done.code == 0
    assert "No test failed (2/2 passed); 4 of 6 did not run" in done.out
    done = loom(project, "test", "--", "-n", "2", "-p", "xdist")
    assert "All tests passed (7/7)" in done.out, done.error


def test_pipelines_and_files_can_be_named(project):
    second = ASKING.replace("name: demo", "name: second")
    commit(
        project,
        {
            "pipelines/second.yaml": second,
            "pipelines/third.yaml": ASKING.replace("name: demo", "name: third"),
            "tests/second_test.yaml": f"pipeline: second\n{units(1)}",
            "tests/more_test.yaml": f"pipeline: demo\n{units(2, first=7)}",
        },
    )
    assert "All tests passed (1/1)" in loom(project, "test", "second").out
    assert "All tests passed (1/1)" in loom(project, "test", "pipelines/second.yaml").out
    assert "All tests passed (2/2)" in loom(project, "test", "tests/more_test.yaml").out
    both = loom(project, "test").out
    assert "All tests passed (10/10)" in both
    assert both.count("Running tests for: ") == 2
    done = loom(project, "test", "secnod")
    assert (done.code, "did you mean 'second'?" in done.error) == (2, True)
    done = loom(project, "test", "third")
    assert (done.code, "error: third has no tests" in done.error) == (2, True)


def test_a_python_file_that_is_named_runs_too(project):
    text = (
        "def test_it(loom):\n"
        "    case = {'review': 'great', 'expected': 'positive'}\n"
        "    assert loom.pipeline('demo').run_case(case).passed\n"
    )
    commit(project, {"tests/test_it.py": text})
    done = loom(project, "test", "tests/test_it.py")
    assert (done.code, "All tests passed (1/1)" in done.out) == (0, True), done.out + done.error
    assert "test_it" in done.out


def test_without_test_files_it_says_what_to_write(tmp_path):
    done = loom(make_project(tmp_path / "work"), "test")
    assert done.code == 2
    assert "error: no test files found\nhint: create tests/NAME_test.yaml\n" in done.error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--", "--no-such-flag"], 2, "unrecognized arguments: --no-such-flag"),
        (["--", "-k", "nothing_is_called_so"], 2, "deselected"),
        (["--budget", "-1"], 2, "Invalid value for '--budget'"),
        (["--samples", "x"], 2, "Invalid value for '--samples'"),
        (["--report", "out.txt"], 2, "out.txt: must end in .html, .md, .json"),
    ],
)
def test_what_must_be_changed_first_is_exit_2(project, server, arguments, code, said):
    done = loom(project, "test", *arguments)
    assert (done.code, said in done.error) == (code, True), done.error
    assert server.calls == 0


def test_flags_are_those_of_the_plugin(project, server):
    done = loom(project, "test", "--samples", "2", "--report", "out.md", "--no-store")
    assert done.code == 0, done.error
    assert server.calls == 14
    assert "demo (v1.0.0): 6 tests, 6 pass" in (project / "out.md").read_text()
    assert not runs(project)
    below = project / "prompts"
    assert loom(below, "test", "--report", "here.json").code == 0
    assert (below / "here.json").exists()


def test_unverified_tests_are_no_failure_unless_strict(tmp_path):
    with OpenAiServer(lambda _: error(401, "wrong key")) as refusing:
        project = project_with(tmp_path / "work", refusing, units(2))
        done = loom(project, "test")
        assert done.code == 2  # no key will do, and nothing was tested
        assert "  ⚠️ case_000: 1 of 1 replies are missing: " in done.out
        assert "No test failed (0/2 passed, 2 unverified)\n" in done.out
        done = loom(project, "test", "--strict")
        assert done.code == 1
        assert "2 of 2 tests failed (0/2 passed)\n" in done.out


def command(project, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "loomgit", "test", *arguments],
        cwd=project,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read_until(stream, text):
    assert any(text in line for line in stream), f"the output ends before {text!r}"


def test_ctrl_c_is_exit_130_and_keeps_what_is_done(tmp_path, server):
    server.latency = 0.1
    project = project_with(tmp_path / "work", server, units(60))
    process = command(project)
    wait_for(lambda: server.calls >= 24, process)
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "press Ctrl-C again to stop immediately" in errors
    assert "Traceback" not in errors
    done = re.search(r"No test failed \((\d+)/\1 passed\); (\d+) of 60 did not run", said)
    assert done is not None, said
    assert int(done[1]) + int(done[2]) == 60
    run = only(runs(project))
    assert len(run["tests"]) == int(done[1])
    assert not run["complete"]


def test_watching_runs_again_on_every_change_until_ctrl_c(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(1))
    process = command(project, "--watch")
    read_until(process.stdout, "All tests passed (1/1)")
    prompt = project / "prompts" / "classify.txt"
    prompt.write_text(prompt.read_text() + "Be kind.\n")
    read_until(process.stdout, "All tests passed (1/1)")
    assert server.calls == 2
    time.sleep(2.5)
    assert len(runs(project)) == 2  # nothing changed
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "tests passed" not in said


def test_modified_with_nothing_modified_is_done(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(2))
    git(project, "checkout", "-q", "-b", "change")
    commit(project, {"docs.md": "x"})
    done = loom(project, "test", "--modified")
    assert (done.code, done.out) == (0, "Nothing that is tested has changed\n"), done.error
    assert server.calls == 0
    done = loom(project, "test", "--", "-k", "no_such_test")
    assert done.code == 2


def test_a_python_test_that_misses_an_import_stops_no_prompt_test(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(2))
    (project / "tests/test_app.py").write_text("import no_such_package\n")
    done = loom(project, "test")
    assert done.code == 0, done.out + done.error


UNUSABLE = {  # what pytest cannot start with: its file, and the words of the warning
    "conftest": ({"tests/conftest.py": "import no_such_package\n"}, "conftest.py: ModuleNotFound"),
    "conftest above": ({"conftest.py": "1 / 0\n"}, "conftest.py: ZeroDivisionError"),
    "option": ({"pytest.ini": "[pytest]\naddopts = --no-such-option=1\n"}, "addopts: unrecognized"),
    "plugin": ({"pytest.ini": "[pytest]\naddopts = -p no_such\n"}, "addopts: Error importing"),
    "required": ({"pytest.ini": "[pytest]\nrequired_plugins = no-such\n"}, "addopts: Missing requ"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_set_up_for_other_tests_stops_no_prompt_test(tmp_path, server, files, reason):
    project = project_with(tmp_path / "work", server, units(2), **files)
    done = loom(project, "test")
    assert done.code == 0, done.error
    assert "All tests passed (2/2)" in done.out
    assert "warning: the prompt tests run without " in done.error
    assert reason in done.error
    done = loom(project, "test", "--strict")
    assert done.code == 2
    assert "error: pytest cannot start" in done.error
    assert "hint: remove --strict to run the prompt tests without" in done.error


def test_several_faults_of_a_set_up_stop_no_prompt_test_and_loom_options_count(tmp_path, server):
    options = "--no-such-option --loom-samples 3 --loom-no-store"
    project = project_with(
        tmp_path / "work",
        server,
        units(2),
        **{
            "tests/conftest.py": "import no_such_package\n",
            "pytest.ini": f"[pytest]\naddopts = {options}\nrequired_plugins = no-such\n",
        },
    )
    done = loom(project, "test")
    assert done.code == 0, done.error
    assert done.error.count("warning: the prompt tests run without") == 2
    assert server.calls == 6
    assert runs(project) == []


def test_a_broken_configuration_of_pytest_is_an_error(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(2), **{"pytest.ini": "[pytest\n"})
    done = loom(project, "test")
    assert done.code == 2
    assert re.fullmatch(r"error: pytest cannot start: .*pytest\.ini:1: .*\n", done.error)


NO_GREEN = {  # what makes pytest report success although a test failed or did not run
    "xfail": "import pytest\ndef pytest_collection_modifyitems(items):\n"
    "    for item in items: item.add_marker(pytest.mark.xfail)\n",
    "exit status": "def pytest_sessionfinish(session): session.exitstatus = 0\n",
    "no loop": "def pytest_runtestloop(session): return True\n",
    "all skipped": "import pytest\ndef pytest_collection_modifyitems(items):\n"
    "    for item in items: item.add_marker(pytest.mark.skip)\n",
    "exit at import": "import sys\nsys.exit(0)\n",
}


@pytest.mark.parametrize("conftest", NO_GREEN.values(), ids=NO_GREEN)
def test_a_conftest_cannot_turn_a_failure_into_exit_0(tmp_path, server, conftest):
    project = project_with(
        tmp_path / "work", server, units(1, expected="negative"), **{"conftest.py": conftest}
    )
    done = loom(project, "test")
    assert done.code in (1, 2), done.out
    assert "All tests passed" not in done.out


@pytest.mark.parametrize("workers", ["", "-p xdist -n 2"])
@pytest.mark.parametrize(
    ("conftest", "options"),
    [
        ("", "-k case_001"),
        ("def pytest_collection_modifyitems(items): items[:] = items[1:]\n", ""),
    ],
)
def test_tests_that_are_left_out_are_counted(tmp_path, server, conftest, options, workers):
    ini = f"[pytest]\naddopts = {options} {workers}\n"
    files = {"conftest.py": conftest, "pytest.ini": ini}
    project = project_with(tmp_path / "work", server, units(2), **files)
    done = loom(project, "test")
    assert (done.code, done.out.splitlines()[-1]) == (
        0, "No test failed (1/1 passed); 1 of 2 did not run",
    ), done.error  # fmt: skip


@pytest.mark.parametrize("workers", ["", "-p xdist -n 2"])
def test_a_skipped_test_is_counted_and_fails_with_strict(tmp_path, server, workers):
    conftest = (
        "import pytest\ndef pytest_collection_modifyitems(items):\n"
        "    items[0].add_marker(pytest.mark.skip)\n"
    )
    files = {"conftest.py": conftest, "pytest.ini": f"[pytest]\naddopts = {workers}\n"}
    project = project_with(tmp_path / "work", server, units(2), **files)
    done = loom(project, "test")
    assert (done.code, "1 of 2 did not run" in done.out) == (0, True), done.error
    assert loom(project, "test", "--strict").code == 1


@pytest.mark.parametrize("options", ["-o loom_strict=true --nope", "@options"])
def test_options_of_loom_are_never_dropped(tmp_path, server, options):
    files = {"pytest.ini": f"[pytest]\naddopts = {options}\n", "options": "--loom-strict\n--nope\n"}
    project = project_with(tmp_path / "work", server, units(1), **files)
    done = loom(project, "test")
    assert (done.code, "pytest cannot start" in done.error) == (2, True)


def test_a_second_start_is_quiet_with_warnings_as_errors(tmp_path, server):
    ini = "[pytest]\nfilterwarnings = error\naddopts = -k model --no-such-option\n"
    files = {"tests/conftest.py": "import no_such_package\n", "pytest.ini": ini}
    project = project_with(tmp_path / "work", server, units(1), **files)
    done = loom(project, "test")
    assert (done.code, "All tests passed (1/1)" in done.out) == (0, True), done.error


@pytest.mark.parametrize(
    "conftest",
    ["import pytest\npytest.importorskip('no_such')\n", "pytest_plugins = ['no_such']\n"],
)
def test_other_ways_to_miss_an_import_stop_no_prompt_test(tmp_path, server, conftest):
    project = project_with(tmp_path / "work", server, units(1), **{"conftest.py": conftest})
    done = loom(project, "test")
    assert (done.code, "All tests passed (1/1)" in done.out) == (0, True), done.error
