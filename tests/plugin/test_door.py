import subprocess
import sys

SLOW = {"litellm", "arbiter_ai", "scipy", "git", "numpy", "pydantic", "jinja2", "yaml", "loomgit"}


def test_the_door_loads_nothing_of_loom_and_nothing_slow():
    code = "import loomgit_pytest, sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not SLOW & {name.split(".")[0] for name in done.stdout.split()}


def test_a_suite_with_strict_markers_may_use_the_marker_and_the_fixture(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.loom(pipeline='demo')\n"
        "def test_prompt(loom):\n"
        "    assert False, 'never reached'\n"
        "def test_other():\n"
        "    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--strict-markers", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
