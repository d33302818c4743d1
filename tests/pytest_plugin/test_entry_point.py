"""What pytest loads in every project: a door that stays shut without --loom."""

import re
import subprocess
import sys

import pytest

from tests.pytest_plugin.sessions import environment, project_with, units

DURATION = re.compile(r"in \d+\.\d+s")
SLOW = {"litellm", "arbiter_ai", "scipy", "git", "numpy", "pydantic", "jinja2", "yaml", "loomgit"}


def plain(folder, *arguments, **more):
    """pytest with the door, and without --loom."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "loomgit_pytest", *arguments],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_door_loads_nothing_of_loom_and_nothing_slow():
    code = "import loomgit_pytest, sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not SLOW & {name.split(".")[0] for name in done.stdout.split()}


def test_a_whole_session_without_the_flag_loads_nothing_of_loom(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_other():\n"
        f"    assert not {SLOW - {'yaml'}!r} & {{n.split('.')[0] for n in sys.modules}}\n"
    )
    done = plain(tmp_path, "-q")
    assert done.returncode == 0, done.stdout


def test_without_the_flag_nothing_is_collected_printed_or_contacted(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(3))
    (project / "tests" / "test_plain.py").write_text("def test_it():\n    pass\n")
    before = sorted(p for p in project.rglob("*") if "__pycache__" not in p.parts)
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    done = plain(project, "-v", "-p", "no:cacheprovider", **quiet)
    assert done.returncode == 0
    assert "1 passed" in done.stdout
    # The same session without the plugin: the paths in its output may contain the word "loom".
    without = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"],
        cwd=project,
        env=environment(**quiet),
        capture_output=True,
        text=True,
        check=False,
    )
    assert DURATION.sub("", done.stdout) == DURATION.sub("", without.stdout)
    assert done.stderr == without.stderr == ""
    assert server.calls == 0
    assert sorted(p for p in project.rglob("*") if "__pycache__" not in p.parts) == before


def test_a_folder_without_tests_ends_as_pytest_ends(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(3))
    assert plain(project, "--collect-only", "-q").returncode == 5


def test_a_suite_with_strict_markers_may_use_the_marker_and_the_fixture(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.loom(pipeline='demo')\n"
        "def test_prompt(loom):\n"
        "    assert False, 'never reached'\n"
        "@pytest.mark.loom_unit\n"
        "def test_other():\n"
        "    pass\n"
    )
    done = plain(tmp_path, "--strict-markers", "-q", "-p", "no:cacheprovider")
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["--loom"], {}),
        ([], {"LOOM_TESTS": "1"}),
        (["-o", "loom=true"], {}),
    ],
    ids=["flag", "variable", "configuration"],
)
def test_the_door_opens_in_three_ways(tmp_path, server, arguments, more):
    project = project_with(tmp_path / "work", server, units(2))
    done = plain(project, *arguments, **more)
    assert "2 passed" in done.stdout


def test_the_flags_are_in_the_help_and_the_plugin_is_found_by_itself(tmp_path):
    kept = {k: v for k, v in environment().items() if k != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        check=True,
    )
    for flag in ("--loom-baseline", "--loom-budget", "--loom-modified", "--loom-strict"):
        assert flag in done.stdout
