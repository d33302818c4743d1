"""Several projects in one session, as a monorepo has them."""

import pytest

from tests.pytest_plugin.sessions import loom, project_with, pytest_in, runs, units
from tests.repos import commit, make


@pytest.fixture
def monorepo(tmp_path, server):
    """Two projects in one repository; the second's model has a price of its own."""
    for name, count in (("one", 3), ("two", 4)):
        project_with(tmp_path / name, server, units(count))
    root = make(tmp_path / "work")
    for name in ("one", "two"):
        source = tmp_path / name
        files = {
            f"{name}/{path.relative_to(source)}": path.read_text()
            for path in source.rglob("*")
            if path.is_file() and ".git/" not in str(path)
        }
        commit(root, files)
    return root


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_each_project_keeps_its_own(monorepo, server, workers):
    done = pytest_in(monorepo, *workers, "--loom-report=out.json").expect(0, passed=7)
    assert server.calls == 4  # what both ask is the same question of the same model
    assert done.out.count("demo (v1.0.0): 3 tests, 3 pass") == 1
    assert done.out.count("demo (v1.0.0): 4 tests, 4 pass") == 1
    for name, count in (("one", 3), ("two", 4)):
        (run,) = runs(monorepo / name)
        assert len(run["tests"]) == len(run["cases"]) == count
        assert (run["complete"], run["selected"], run["total"]) == (True, count, count)
    assert not (monorepo / ".loom").exists()
    calls = server.calls
    done = pytest_in(monorepo, *workers).expect(0, passed=7)
    assert server.calls == calls
    for name, count in (("one", 3), ("two", 4)):
        again = runs(monorepo / name)[-1]
        assert len(again["cases"]) == again["evaluation"]["label"]["n"] == count
        assert f"{count} samples of earlier runs" in done.out
    part = pytest_in(monorepo, *workers, "-k", "case_000", "--loom-samples=2")
    assert (part.code, part.counts["passed"]) == (0, 2)
    for name, count in (("one", 3), ("two", 4)):
        part = runs(monorepo / name)[-1]
        assert (part["complete"], part["selected"], part["total"]) == (False, 1, count)


def test_one_of_them_alone(monorepo):
    pytest_in(monorepo, "two").expect(0, passed=4)
    pytest_in(monorepo / "one").expect(0, passed=3)
    assert loom(monorepo / "two", "test").code == 0
    assert [len(runs(monorepo / name)) for name in ("one", "two")] == [1, 2]


def test_one_projects_fault_is_its_own(monorepo):
    commit(monorepo, {"one/pipelines/demo.yaml": "name: demo\n"})
    done = pytest_in(monorepo).expect(1, failed=3, passed=4)
    assert "pipelines/demo.yaml:1:1: " in done.out


def test_a_budget_is_one_for_all_of_them(monorepo, server):
    done = pytest_in(monorepo, "--loom-budget=0.0007")
    assert done.code == 1
    assert 0 < server.calls < 4
    assert sum(done.counts.values()) == 7


def test_a_test_file_outside_of_any_project_says_so(tmp_path):
    (tmp_path / "lone_test.yaml").write_text("pipeline: demo\n")
    done = pytest_in(tmp_path)
    assert done.code == 2
    assert "is not in a Loom project" in done.out
    assert "Traceback" not in done.out
