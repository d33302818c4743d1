"""`targets:` in .loom/config.yaml: one project with several databases, defaults and budgets."""

import json
import sqlite3

import pytest

from loomgit.api import Project
from loomgit.errors import Untrusted, UserError
from loomgit.gateway.budget import Budget
from loomgit.wiring.trust import Trust
from tests.command import loom
from tests.comparisons import SUITE
from tests.guards import loom as guarded
from tests.projects import PIPELINE, make_project
from tests.repos import commit, git

CONFIG = """\
defaults: {concurrency: 4}
targets:
  dev:
    connections: {reviews: sqlite://data/dev.db, out: sqlite://out/dev.db}
  prod:
    production: true
    budget: 2
    defaults: {concurrency: 1}
    connections:
      reviews: sqlite://${PROD_DB}
      out: sqlite://out/prod.db
"""
_BEFORE, _, _PROD = CONFIG.partition("  prod:\n")
SWAPPED = _BEFORE.replace("  dev:", f"  prod:\n{_PROD}  dev:")
TWO = PIPELINE.replace("data/reviews.csv", "sqlite://reviews/reviews").replace(
    "sqlite://out/demo.db/scores", "sqlite://out/scores"
)
TESTS = SUITE.replace("dataset: data/reviews.csv\n", "")


def database(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE reviews (review_id TEXT, review TEXT, expected TEXT)")
    values = [(f"{path.stem}-{n}", "This is great", "positive") for n in range(rows)]
    connection.executemany("INSERT INTO reviews VALUES (?, ?, ?)", values)
    connection.commit()
    connection.close()


def loaded(path):
    if not path.exists():
        return 0
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM scores").fetchone()
    connection.close()
    return count


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("LOOM_TARGET", raising=False)
    monkeypatch.setenv("PROD_DB", "data/prod.db")
    folder = tmp_path / "work"
    database(folder / "data/dev.db", 2)
    database(folder / "data/prod.db", 3)
    files = {"pipelines/demo.yaml": TWO, ".loom/config.yaml": CONFIG, "tests/demo_test.yaml": TESTS}
    return make_project(folder, **files)


@pytest.mark.parametrize(
    ("flags", "variable", "target", "rows"),
    [
        ([], None, "dev", (2, 0)),
        (["--target", "prod"], None, "prod", (0, 3)),
        ([], "prod", "prod", (0, 3)),
        ([], "", "dev", (2, 0)),
        (["--target", "dev"], "prod", "dev", (2, 0)),
    ],
)
def test_a_run_uses_the_connections_of_its_target(
    project, monkeypatch, flags, variable, target, rows
):
    if variable is not None:
        monkeypatch.setenv("LOOM_TARGET", variable)
    done = loom(project, "run", "demo", "--json", *flags)
    assert (done.returncode, json.loads(done.stdout)["target"]) == (0, target)
    assert (loaded(project / "out/dev.db"), loaded(project / "out/prod.db")) == rows
    (row,) = json.loads(loom(project, "runs", "list", "--json").stdout)["runs"]
    assert row["target"] == target
    assert f"Target:    {target}" in loom(project, "runs", "show", "latest").stdout


def test_a_run_without_targets_has_no_target(project):
    (project / ".loom/config.yaml").write_text(
        "connections: {reviews: sqlite://data/dev.db, out: sqlite://out/dev.db}\n"
    )
    done = loom(project, "run", "demo", "--json")
    assert (done.returncode, json.loads(done.stdout)["target"]) == (0, None)
    assert "Target:" not in loom(project, "runs", "show", "latest").stdout
    done = loom(project, "run", "demo", "--target", "dev")
    assert done.returncode == 2
    assert ".loom/config.yaml has no targets" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["run", "demo"], ["cost", "demo", "--dry-run"], ["validate"], ["test"],
        ["compare"], ["ci", "--dry-run"], ["hooks", "run", "pre-commit"],
        ["quarantine", "list"], ["quarantine", "show", "r-1"], ["quarantine", "retry"],
        ["quarantine", "resolve", "r-1", "--why", "Noise"], ["quarantine", "to-test", "r-1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_each_command_refuses_an_unknown_target(project, monkeypatch, command):
    code, output = guarded(project, *command, "--target", "prd")
    assert code == 2
    assert "there is no target 'prd': .loom/config.yaml has dev, prod" in output
    assert "did you mean 'prod'?" in output
    monkeypatch.setenv("LOOM_TARGET", "prd")
    code, output = guarded(project, *command)
    assert code == 2
    assert "there is no target 'prd'" in output


def test_a_retry_loads_into_the_destination_of_its_target(project):
    pipeline = project / "pipelines/demo.yaml"
    pipeline.write_text(TWO.replace("reference_field: expected", "reference: bad"))
    assert loom(project, "run", "demo", "--target", "prod").returncode == 1
    pipeline.write_text(TWO)
    assert loom(project, "quarantine", "retry", "--target", "prod").returncode == 0
    assert (loaded(project / "out/dev.db"), loaded(project / "out/prod.db")) == (0, 3)


def test_a_missing_variable_is_reported_with_the_position_in_the_target(project, monkeypatch):
    monkeypatch.delenv("PROD_DB")
    assert loom(project, "run", "demo").returncode == 0
    done = loom(project, "run", "demo", "--target", "prod")
    assert done.returncode == 2
    assert ".loom/config.yaml:10:16: the environment variable PROD_DB is not set" in done.stderr


def test_cost_needs_dry_run_for_a_target(project, monkeypatch):
    assert loom(project, "cost", "demo", "--target", "prod").returncode == 2
    monkeypatch.setenv("LOOM_TARGET", "prod")
    assert loom(project, "cost", "demo").returncode == 0
    done = loom(project, "cost", "demo", "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert (document["records"], document["budget"]) == (3, 2)


@pytest.mark.parametrize(
    ("target", "own", "flag", "limit"),
    [
        ("prod", None, None, 2.0),
        ("prod", 1, None, 1.0),
        ("prod", 5, 0.5, 0.5),
        ("prod", None, 3, 2.0),
        ("dev", None, 3, 3.0),
        ("dev", None, None, None),
    ],
)
def test_the_lowest_budget_counts(project, monkeypatch, target, own, flag, limit):
    if own is not None:
        text = f"{TWO}monitoring: {{cost_budget: {own}}}\n"
        (project / "pipelines/demo.yaml").write_text(text)
    limits = []
    original = Budget.__init__

    def record(self, limit, *rest):
        limits.append(limit)
        original(self, limit, *rest)

    monkeypatch.setattr(Budget, "__init__", record)
    flags = [] if flag is None else [f"--budget={flag}"]
    assert loom(project, "run", "demo", "--target", target, *flags).returncode == 0
    assert min(limits, default=None) == limit


def test_tests_take_the_target(project, monkeypatch):
    assert loom(project, "test", "--target", "prod").returncode == 0
    assert loom(project, "test").returncode == 0
    rows = json.loads(loom(project, "runs", "list", "--json").stdout)["runs"]
    assert [row["target"] for row in rows] == ["dev", "prod"]
    assert [row["processed"] for row in rows] == [3, 4]  # a unit test, and the records


def test_a_revision_without_the_target_uses_its_own_settings(project):
    text = "connections: {reviews: sqlite://data/old.db}\n"
    before = commit(project, {".loom/config.yaml": text})
    head = commit(project, {".loom/config.yaml": CONFIG})
    wiring = Project(project, target="prod").wiring
    assert wiring.settings.target == "prod"
    old, new = wiring.at(before), wiring.at(head)
    assert (old.settings.target, str(old.settings.connections["reviews"].url)) == (
        None, "sqlite://data/old.db",
    )  # fmt: skip
    assert (new.settings.target, new.settings.budget) == ("prod", 2.0)


def test_all_revisions_have_the_default_target_of_the_checkout(project):
    base = git(project, "rev-parse", "HEAD")
    commit(project, {".loom/config.yaml": SWAPPED})
    wiring = Project(project).wiring
    assert wiring.settings.target == "prod"
    assert wiring.at(base).settings.target == "prod"


def test_a_fork_cannot_choose_another_target(project):
    base = git(project, "rev-parse", "HEAD")
    head = commit(project, {".loom/config.yaml": SWAPPED})
    wiring = Project(project).wiring
    reference = wiring.at(base)
    wiring.trust.only(base, reference)
    assert reference.settings.target == "dev"
    assert wiring.at(head).settings.target == "dev"
    assert wiring.at(base).settings.target == "dev"


def test_trust_compares_the_connections_of_the_target(project):
    postgres = CONFIG.replace("sqlite://data/dev.db", "postgresql://dev/d").replace(
        "sqlite://${PROD_DB}", "postgresql://prod/d"
    )
    extract = TWO.replace("sqlite://reviews/reviews", "postgres://reviews/reviews")
    base = commit(project, {".loom/config.yaml": postgres, "pipelines/demo.yaml": extract})
    other = postgres.replace("postgresql://prod/d", "postgresql://evil/d")
    head = commit(project, {".loom/config.yaml": other})
    for target, is_refused in (("dev", False), ("prod", True)):
        wiring = Project(project, target=target).wiring
        reference = wiring.at(base)
        trust = Trust(wiring)
        trust.only(base, reference)
        wiring.__dict__["trust"] = trust
        tree = wiring.at(head)
        source = tree.catalog.pipeline("demo").extract
        if is_refused:
            with pytest.raises(Untrusted, match="connections in .loom/config.yaml"):
                trust.check_source(tree, source)
        else:
            trust.check_source(tree, source)


def test_the_api_selects_a_target(project):
    run = Project(project, target="prod").run("demo")
    assert (run.target, run.results.records_processed) == ("prod", 3)
    with pytest.raises(UserError, match="there is no target 'nope'"):
        Project.find(project, target="nope").run("demo")
