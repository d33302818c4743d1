"""`loom compare` as users meet it: what is compared, with what, and what follows."""

import json
import subprocess
import sys

import pytest

from loomgit.api import Project
from loomgit.errors import Denied, ProblemsFound, UserError, WorldError
from tests.command import loom
from tests.comparisons import (
    BETTER,
    NEUTRAL,
    SUITE,
    WORSE,
    classify,
    copy_project,
    make_comparable,
    reviews,
    with_transform,
)
from tests.projects import PIPELINE, PROMPT, TAXONOMY
from tests.repos import commit, git, write
from tests.servers.openai_server import OpenAiServer, error


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = make_comparable(tmp_path_factory.mktemp("template") / "project")
    git(folder, "checkout", "--quiet", "-b", "feature")
    return folder


@pytest.fixture
def project(template, tmp_path):
    """On a branch of its own, one commit behind it, nothing measured yet."""
    return copy_project(template, tmp_path / "project")


def compare(folder, **wanted):
    return Project(folder, warn=pytest.fail).compare(**wanted)


def measure(folder, **wanted):
    return compare(folder, run_missing=True, **wanted)


def one(comparison):
    (found,) = comparison.pipelines
    return found


def label(comparison):
    return next(m for m in one(comparison).metrics if m.name == "label")


def runs(folder):
    return Project(folder).runs()


# -- the main job


def test_a_worse_prompt_is_blocked_with_a_table(project):
    commit(project, WORSE)
    done = loom(project, "compare", "--run-missing")
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    head = git(project, "rev-parse", "HEAD")[:8]
    base = git(project, "rev-parse", "main")[:8]
    assert lines[:3] == [f"Base: merge base with main ({base})", f"Head: feature ({head})", ""]
    assert lines[3] == "demo: degraded"
    assert lines[5] == "  changed: context/taxonomy.md"
    assert lines[6].split() == [
        "METRIC", "BASE", "HEAD", "Δ", "90%", "INTERVAL", "n", "p", "VERDICT",
    ]  # fmt: skip
    assert lines[7].split()[:2] == ["Label", "1.000"]
    assert lines[7].endswith("degraded")
    assert any(line.startswith("  worse: r-") for line in lines)
    assert lines[-1] == "❌ Degraded: demo"


def test_a_change_that_does_no_harm_passes_and_is_not_called_nothing(project):
    commit(project, NEUTRAL)
    found = measure(project)
    assert found.outcome == "no_worse"
    assert not found.blocks(strict=True)
    assert one(found).compared == 61
    done = loom(project, "compare")
    assert done.returncode == 0
    assert "every case scores as before" in done.stdout
    assert "nothing differs" not in done.stdout


def test_a_better_prompt_is_called_so(project):
    git(project, "checkout", "--quiet", "main")
    commit(project, WORSE)
    git(project, "checkout", "--quiet", "-b", "better")
    commit(project, BETTER)
    assert measure(project).outcome == "improved"


def test_what_cannot_change_a_result_is_compared_at_no_cost(project):
    text = PIPELINE + "description: Of products\n"
    commit(project, {"pipelines/demo.yaml": text, "README.md": "x"})
    found = measure(project)
    assert (found.outcome, found.missing_baseline) == ("unchanged", False)
    assert runs(project) == []
    assert one(found).inputs[0].startswith("pipelines/demo.yaml: ")


BROKEN = "pipeline: {name}\nunit_tests:\n  - name: [a\n"


def test_a_broken_test_file_of_another_pipeline_stops_nothing(project):
    commit(project, {"tests/other_test.yaml": BROKEN.format(name="other")})
    commit(project, NEUTRAL)
    done = loom(project, "compare", "HEAD~1..HEAD", "--run-missing")
    assert done.returncode == 0, done.stderr
    assert "demo: no worse" in done.stdout
    assert done.stderr.count("warning: tests/other_test.yaml:3:") == 1


def test_a_broken_test_file_stops_the_comparison_of_its_pipeline(project):
    commit(project, {"tests/other_test.yaml": BROKEN.format(name="demo")})
    commit(project, NEUTRAL)
    done = loom(project, "compare", "HEAD~1..HEAD", "--run-missing")
    assert done.returncode == 2
    assert "error: tests/other_test.yaml:3:" in done.stderr


def test_a_test_file_that_is_broken_since_stops_the_comparison(project):
    commit(project, {**NEUTRAL, "tests/other_test.yaml": BROKEN.format(name="other")})
    done = loom(project, "compare", "HEAD~1..HEAD")
    assert done.returncode == 2
    assert "error: tests/other_test.yaml:3:" in done.stderr


def test_the_json_document_has_every_number(project):
    commit(project, WORSE)
    done = loom(project, "compare", "--run-missing", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    assert (document["outcome"], document["blocked"]) == ("degraded", True)
    assert document["missing_baseline"] is False
    assert document["base"] == {
        "name": "merge base with main", "commit": git(project, "rev-parse", "main"),
    }  # fmt: skip
    (found,) = document["pipelines"]
    assert found.keys() == {
        "pipeline", "outcome", "new", "base", "head", "metrics", "differs", "compared", "removed",
        "added", "changed", "worse", "better", "inputs", "notes", "accepted", "strict",
        "requestioned", "looser", "may_lose", "vars",
    }  # fmt: skip
    assert found["base"].keys() == {
        "commit", "fingerprint", "prompt_version", "model", "runs", "behind", "measured", "program",
    }  # fmt: skip
    metric = found["metrics"][0]
    assert metric.keys() == {
        "name", "kind", "gated", "outcome", "base", "head", "delta", "low", "high", "p", "adjusted",
        "limit", "detects", "cases", "samples", "missing", "method", "reason",
    }  # fmt: skip
    assert (metric["name"], metric["base"], metric["cases"]) == ("label", 1.0, 60)
    assert metric["delta"] == pytest.approx(metric["head"] - 1.0)
    worse = found["worse"][0]
    assert (worse["base"], worse["head"], worse["delta"]) == (1.0, 0.0, -1.0)
    assert worse["scores"] == {"label": {"base": 1.0, "head": 0.0}}
    again = loom(project, "compare", "--format", "json")
    assert json.loads(again.stdout)["pipelines"][0]["metrics"][0] == metric


def test_the_markdown_report_says_the_same(project):
    commit(project, WORSE)
    done = loom(project, "diff", "--run-missing", "--format", "markdown")
    assert done.returncode == 1
    assert done.stdout.startswith("## ❌ Loom: Degraded: demo\n")
    assert "| Label | 1.000 |" in done.stdout
    assert "<details><summary>" in done.stdout


def set_suite(project, text):
    """The test file, on `main` and on the branch."""
    git(project, "checkout", "--quiet", "main")
    commit(project, {"tests/demo_test.yaml": text})
    git(project, "checkout", "--quiet", "feature")
    git(project, "rebase", "--quiet", "main")


def test_the_limits_come_from_the_tests_and_then_from_the_command(project):
    commit(project, {"context/taxonomy.md": TAXONOMY.replace("broken, hate", "broken")})
    assert measure(project).outcome == "degraded"
    assert label(compare(project)).delta == pytest.approx(-1 / 6)
    assert compare(project, max_drop=0.6).outcome != "degraded"
    set_suite(project, SUITE + "defaults: {max_drop: 0.6}\n")
    assert label(compare(project)).limit == 0.6
    assert compare(project, max_drop=0.02).outcome == "degraded"
    set_suite(
        project, SUITE + "  - {name: gate, type: regression, max_drop: 0.5, scope: population}\n"
    )
    assert (label(compare(project)).limit, label(compare(project)).method) == (0.5, "t")
    (project / "tests/demo_test.yaml").write_text(SUITE + "defaults: {max_drop: 0.6}\n")
    assert label(compare(project)).limit == 0.5  # looser limits count once they are merged
    line = "changed limit: demo: max_drop: 0.5 -> 0.6 (0.5 applies until the merge)"
    assert line in loom(project, "compare").stdout
    assert label(compare(project, max_drop=0.6)).limit == 0.6


def test_cost_is_gated_where_a_rise_is_named(project, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-x")
    with OpenAiServer(classify) as server:
        serve(project, server)
        git(project, "branch", "--force", "main", "HEAD")
        write(project, {"prompts/classify.txt": PROMPT + "\nThink of all that was said.\n" * 30})
        found = measure(project)
        cost = next(m for m in one(found).metrics if m.name == "cost")
        assert cost.delta > 0.5
        assert (found.outcome, cost.gated) == ("no_worse", False)
        assert compare(project, max_rise=0.1).outcome == "degraded"
        assert compare(project, max_rise=50.0).outcome != "degraded"


def test_a_pipeline_without_tests_is_compared_by_its_runs(project):
    git(project, "rm", "--quiet", "tests/demo_test.yaml")
    base = commit(project, {})
    git(project, "branch", "--force", "main", base)
    Project(project).run("demo")
    write(project, WORSE)
    Project(project).run("demo")
    found = compare(project)
    assert found.outcome == "degraded"
    assert one(found).compared == 60
    assert len(runs(project)) == 2
    assert measure(project).outcome == "degraded"
    assert len(runs(project)) == 2  # both were there


def test_only_the_side_that_is_missing_is_measured(project):
    git(project, "rm", "--quiet", "tests/demo_test.yaml")
    git(project, "branch", "--force", "main", commit(project, {}))
    write(project, WORSE)
    Project(project).run("demo")
    found = measure(project)
    assert found.outcome == "degraded"
    assert (one(found).base.measured, one(found).head.measured) == (True, False)


def test_variables_are_those_of_both_sides(project):
    git(project, "checkout", "--quiet", "main")
    commit(project, {"prompts/classify.txt": PROMPT + "\nIn {{ vars.language }}.\n"})
    git(project, "checkout", "--quiet", "-b", "mine")
    commit(project, WORSE)
    with pytest.raises(ProblemsFound, match="vars.language"):
        compare(project)
    wanted = {"variables": {"language": "French"}}
    assert measure(project, **wanted).outcome == "degraded"
    assert compare(project, **wanted).outcome == "degraded"
    assert compare(project, variables={"language": "German"}).outcome == "inconclusive"
    done = loom(project, "compare", "--vars", "language=French")
    assert done.returncode == 1


# -- baselines, in their order


def test_results_of_the_same_content_count_whatever_commit_they_come_from(project):
    git(project, "checkout", "--quiet", "--orphan", "elsewhere")
    write(project, {"unrelated.txt": "x"})
    Project(project).run("demo")  # a dirty tree, no history in common, the baseline's content
    git(project, "checkout", "--quiet", "--force", "feature")
    commit(project, WORSE)
    Project(project).run("demo")
    found = compare(project)
    assert found.outcome == "degraded"
    assert one(found).base.behind == 0


def older(project, commits=2, **changes):
    """Results at a first commit, `commits` others after it that change the prompt, a branch."""
    git(project, "checkout", "--quiet", "main")
    for name, content in changes.items():
        write(project, {name: content})
    Project(project).run("demo")
    git(project, "checkout", "--quiet", "--force", "main")
    for number in range(commits):
        commit(project, {"prompts/classify.txt": PROMPT + "\nBe brief.\n" * (number + 1)})
    git(project, "checkout", "--quiet", "-b", "mine")
    commit(project, WORSE)
    Project(project).run("demo")


@pytest.mark.parametrize(("commits", "words"), [(1, "1 commit older"), (2, "2 commits older")])
def test_else_the_nearest_ancestor_counts_and_its_age_is_told(project, commits, words):
    older(project, commits)
    found = compare(project)
    assert found.outcome == "degraded"
    assert one(found).base.behind == commits
    assert f"note: baseline: {words}" in loom(project, "compare").stdout


def test_a_dirty_ancestor_is_no_baseline(project):
    older(project, **{"context/taxonomy.md": TAXONOMY + "\n"})
    found = compare(project)
    assert (found.outcome, found.missing_baseline) == ("inconclusive", True)


def test_an_incomplete_ancestor_is_no_baseline(project, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-x")
    with OpenAiServer(classify) as server:
        serve(project, server)
        git(project, "branch", "--force", "main", "HEAD")
        server.respond = lambda request: (
            error(401, "no more", "invalid_api_key") if server.calls > 20 else classify(request)
        )
        Project(project).run("demo")
        server.respond = classify
        git(project, "checkout", "--quiet", "-b", "mine")
        commit(project, NEUTRAL)
        commit(project, WORSE)
        Project(project).run("demo")
        assert [run.complete for run in runs(project)] == [False, True]
        assert compare(project, expression="HEAD~1").missing_baseline


def test_without_any_baseline_nothing_is_blocked_unless_one_is_required(project):
    commit(project, WORSE)
    Project(project).run("demo")
    done = loom(project, "compare")
    assert done.returncode == 0
    assert "there are no results of the baseline" in done.stdout
    assert "--run-missing" in done.stdout
    assert loom(project, "compare", "--require-baseline").returncode == 1
    assert loom(project, "compare", "--strict").returncode == 1


def test_the_first_commit_has_none(project):
    git(project, "checkout", "--quiet", "main")
    done = loom(project, "compare", "--run-missing")
    assert done.returncode == 0
    assert "no baseline: the head is the first commit" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("Nothing to compare")
    assert loom(project, "compare", "--require-baseline").returncode == 1


def test_results_of_the_head_that_are_missing_are_named(project):
    Project(project).run("demo")
    commit(project, WORSE)
    found = compare(project)
    assert not found.missing_baseline
    assert "there are no results of the head" in one(found).notes


# -- only the same question


def changed(old, new):
    return {"pipelines/demo.yaml": PIPELINE.replace(old, new)}


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("name: label", "name: kind", "evaluators.label: exact_match -> none"),
        ("field: sentiment,", "field: confidence,", "evaluators.label.config.field: sentiment -> "
         "confidence"),
    ],
)  # fmt: skip
def test_another_question_is_not_compared_and_what_differs_is_named(project, old, new, part):
    Project(project).run("demo")
    commit(project, changed(old, new) | WORSE)
    Project(project).run("demo")
    done = loom(project, "compare", "--json")
    assert done.returncode == 0
    (found,) = json.loads(done.stdout)["pipelines"]
    assert found["outcome"] == "not_comparable"
    assert (found["metrics"], found["worse"]) == ([], [])
    assert part in [f"{d['part']}: {d['base']} -> {d['head']}" for d in found["differs"]]
    table = loom(project, "compare", "--strict")
    assert table.returncode == 1
    assert f"not comparable: {part}" in table.stdout
    assert "Δ" not in table.stdout


def test_todays_question_is_put_to_the_baseline_where_it_is_measured(project):
    Project(project).run("demo")
    tone = "    - {name: sure, type: numeric, config: {field: confidence, min: 0.5}}\n"
    commit(project, changed("  quality_gate", tone + "  quality_gate") | WORSE)
    found = measure(project)
    assert found.outcome == "degraded"
    assert {m.name for m in one(found).metrics} >= {"label", "sure"}
    assert one(found).differs == ()
    assert compare(project).outcome == "degraded"  # and stays known


def test_an_evaluator_of_ones_own_is_todays_on_both_sides(project):
    text = "def judge(output, input):\n    return {score}\n"
    own = "    - {name: own, type: 'evaluators/own.py:judge', threshold: 0.5}\n"
    git(project, "checkout", "--quiet", "main")
    commit(project, changed("  quality_gate", own + "  quality_gate")
           | {"evaluators/own.py": text.format(score=0.25)})  # fmt: skip
    git(project, "checkout", "--quiet", "-b", "mine")
    commit(project, WORSE | {"evaluators/own.py": text.format(score=0.75)})
    metric = next(m for m in one(measure(project)).metrics if m.name == "own")
    assert (metric.base, metric.head) == (0.75, 0.75)


def test_a_case_that_changed_is_named_and_left_out(project):
    Project(project).run("demo")
    rows = reviews().replace("number 7 is broken", "number 7 is awful")
    commit(project, {"data/reviews.csv": rows} | NEUTRAL)
    Project(project).run("demo")
    found = compare(project)
    assert found.outcome == "no_worse"
    assert (one(found).changed, one(found).compared) == (("r-7",), 59)
    said = loom(project, "compare").stdout
    assert "not comparable: case r-7: its input or expectation differs" in said


def test_a_unit_test_that_expects_something_else_is_another_question(project):
    measure(project)
    commit(project, NEUTRAL)
    measure(project)
    other = SUITE.replace("{sentiment: positive}", "{sentiment: negative}")
    git(project, "checkout", "--quiet", "-b", "other", "main")
    commit(project, {"tests/demo_test.yaml": other, "prompts/classify.txt": PROMPT + "\nHm.\n"})
    measure(project)
    found = one(compare(project, expression="feature..other"))
    assert found.changed == ("unit::plain",)


def test_removed_cases_make_it_inconclusive_unless_that_is_accepted(project):
    Project(project).run("demo")
    commit(project, {"data/reviews.csv": reviews(50)} | NEUTRAL)
    Project(project).run("demo")
    found = compare(project)
    assert found.outcome == "inconclusive"
    assert len(one(found).removed) == 10
    assert compare(project, allow_removed=True).outcome == "no_worse"
    assert loom(project, "compare", "--allow-removed", "--strict").returncode == 0


def test_removed_cases_are_seen_though_the_baseline_is_measured_today(project):
    commit(project, {"data/reviews.csv": reviews(50)} | NEUTRAL)
    for found in (measure(project), compare(project), measure(project)):
        assert found.outcome == "inconclusive"
        assert len(one(found).removed) == 10
    assert measure(project, allow_removed=True).outcome == "no_worse"


def test_cases_that_came_are_measured_and_leave_the_gate(project):
    commit(project, NEUTRAL)
    assert one(measure(project)).compared == 61
    write(project, {"data/reviews.csv": reviews(70)})
    found = one(measure(project))
    assert (found.compared, len(found.added)) == (61, 10)
    assert found.base.measured


def test_many_easy_new_cases_do_not_hide_what_the_others_lost(project):
    easy = "".join(f"e-{n},item {n} is great,positive\n" for n in range(300))
    worse = {"context/taxonomy.md": TAXONOMY.replace("bad, broken, hate", "bad, broken")}
    commit(project, {"data/reviews.csv": reviews() + easy, **worse})
    found = measure(project)
    assert (found.outcome, label(found).cases) == ("degraded", 60)
    assert label(found).delta == pytest.approx(-1 / 6)


def test_neither_do_they_where_both_sides_are_drawn_again(project):
    set_suite(project, SUITE + "defaults: {confirm: true}\n")
    easy = "".join(f"e-{n},item {n} is great,positive\n" for n in range(1500))
    worse = {"context/taxonomy.md": TAXONOMY.replace("bad, broken, hate", "bad, broken")}
    commit(project, {"data/reviews.csv": reviews() + easy, **worse})
    found = measure(project)
    assert found.outcome == "degraded"
    assert label(found).reason.startswith("measured again, and confirmed")


def test_cases_that_fall_out_of_the_sample_are_not_removed(project):
    sized = SUITE.replace("type: statistical", "sample_size: 20, type: statistical")
    set_suite(project, sized)
    commit(project, {"data/reviews.csv": reviews(120), **NEUTRAL})
    found = one(measure(project))
    assert (found.removed, found.changed) == ((), ())


def test_other_cases_are_compared_on_request(project):
    Project(project).run("demo")
    commit(project, {"data/reviews.csv": reviews(60, start=60)} | WORSE)
    Project(project).run("demo")
    assert compare(project).outcome == "not_comparable"
    found = compare(project, unpaired=True)
    assert found.outcome == "degraded"
    assert any("unpaired" in note for note in one(found).notes)


JUDGED = """\
evaluate:
  model: judge-1
  evaluators:
    - {name: quality, type: custom_criteria, criteria: "Accurate sentiment", threshold: 0.75}
load:
"""


def serve(project, server, *models, evaluate="", cache="false"):
    """Let the pipeline ask a model at the server, and keep no replies."""
    text = with_transform("model: gpt-4o-mini\n  temperature: 0")
    if evaluate:
        before, _, rest = text.partition("evaluate:\n")
        text = before + evaluate + rest.partition("load:\n")[2]
    entry = f"{{base_url: '{server.url}', api_key: '${{LOOM_TEST_KEY}}', input_price: 1}}"
    known = "".join(f"  {name}: {entry}\n" for name in ("gpt-4o-mini", *models))
    config = f"defaults: {{cache: {cache}}}\nmodels:\n{known}"
    commit(project, {"pipelines/demo.yaml": text, ".loom/config.yaml": config})


def both(request):
    """Classifies where it is asked to, and judges well."""
    from tests.servers.openai_server import answer

    return classify(request) if request["model"] == "gpt-4o-mini" else answer(request)


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-x")


@pytest.mark.usefixtures("key")
def test_a_judge_that_is_served_as_another_is_not_compared(project):
    few = {"data/reviews.csv": reviews(3), "tests/demo_test.yaml": ""}
    with OpenAiServer(both) as server:
        serve(project, server, "judge-1", evaluate=JUDGED)
        base = commit(project, {"data/reviews.csv": few["data/reviews.csv"]})
        git(project, "rm", "--quiet", "tests/demo_test.yaml")
        git(project, "branch", "--force", "main", commit(project, {}))
        Project(project).run("demo")
        server.served = lambda model: f"{model}-today"
        commit(project, NEUTRAL)
        Project(project).run("demo")
    assert base
    found = compare(project)
    assert found.outcome == "not_comparable"
    assert "judge-1 -> judge-1-today" in one(found).metrics[0].reason
    assert one(found).metrics[0].delta is None


@pytest.mark.usefixtures("key")
def test_a_judge_that_the_baseline_does_not_know_judges_it_all_the_same(project):
    with OpenAiServer(both) as server:
        git(project, "checkout", "--quiet", "main")
        write(project, {"data/reviews.csv": reviews(3)})
        serve(project, server)
        git(project, "checkout", "--quiet", "-b", "judged")
        write(project, NEUTRAL)
        serve(project, server, "judge-1", evaluate=JUDGED)
        found = measure(project)
    # The new evaluator has taken the place of another one: what that would find is not known.
    assert found.outcome == "inconclusive"
    assert [str(part) for part in one(found).requestioned] == [
        "evaluators.label: exact_match -> none"
    ]
    assert one(found).metrics[0].name == "quality"
    assert one(found).metrics[0].outcome == "inconclusive"
    models = [request["model"] for request in server.requests]
    assert (models.count("gpt-4o-mini"), models.count("judge-1")) == (8, 8)


# -- what was measured is not measured again


@pytest.mark.usefixtures("key")
def test_a_rebase_and_a_squash_cost_no_call(project):
    with OpenAiServer(classify) as server:
        git(project, "checkout", "--quiet", "main")
        serve(project, server)
        git(project, "checkout", "--quiet", "-B", "feature", "main")
        commit(project, {"prompts/classify.txt": PROMPT + "\nHm.\n"})
        commit(project, WORSE | NEUTRAL)
        assert measure(project).outcome == "degraded"
        assert server.calls == 122
        commit(project, {"README.md": "no matter"})
        git(project, "checkout", "--quiet", "main")
        commit(project, {"README.txt": "meanwhile"})
        git(project, "checkout", "--quiet", "feature")
        git(project, "rebase", "--quiet", "main")
        assert measure(project).outcome == "degraded"
        git(project, "reset", "--quiet", "--soft", "main")
        commit(project, {}, "Squashed")
        assert measure(project).outcome == "degraded"
        assert loom(project, "compare", "--run-missing").returncode == 1
        git(project, "checkout", "--quiet", "main")
        git(project, "merge", "--quiet", "--squash", "feature")
        assert measure(project).outcome == "degraded"  # staged on main
        git(project, "commit", "--quiet", "-m", "Merged")
        assert measure(project).outcome == "degraded"  # committed on main
        assert server.calls == 122
        assert len(runs(project)) == 2


@pytest.mark.usefixtures("key")
def test_more_samples_reuse_those_that_were_drawn(project):
    with OpenAiServer(classify) as server:
        write(project, {"data/reviews.csv": reviews(5)})
        serve(project, server)
        git(project, "branch", "--force", "main", "HEAD")
        commit(project, NEUTRAL)
        measure(project)
        assert server.calls == 12
        write(project, {"tests/demo_test.yaml": SUITE + "defaults: {samples: 3}\n"})
        found = measure(project)
        assert server.calls == 36
        assert label(found).samples == 15  # the unit test has no reference
        assert not compare(project).missing_baseline


@pytest.mark.usefixtures("key")
def test_what_an_outage_took_is_measured_again_and_nothing_else(project):
    with OpenAiServer(classify) as server:
        write(project, {"data/reviews.csv": reviews(20)})
        serve(project, server)
        git(project, "branch", "--force", "main", "HEAD")
        commit(project, NEUTRAL)
        server.respond = lambda request: (
            error(400, "no") if "number 7 " in str(request) else classify(request)
        )
        found = measure(project)
        assert (label(found).cases, label(found).missing) == (19, 2)
        assert [run.complete for run in runs(project)] == [False, False]
        calls, server.respond = server.calls, classify
        assert (label(measure(project)).cases, label(measure(project)).missing) == (20, 0)
        assert server.calls == calls + 2


@pytest.mark.usefixtures("key")
def test_a_provider_that_answers_nothing_is_a_failure_of_the_world(project):
    with OpenAiServer(lambda _: error(400, "not today")) as server:
        serve(project, server)
        git(project, "branch", "--force", "main", "HEAD")
        commit(project, NEUTRAL)
        with pytest.raises(WorldError, match="demo: no call returned a reply: .*not today"):
            measure(project)
        assert loom(project, "compare", "--run-missing").returncode == 4


@pytest.mark.usefixtures("key")
def test_a_key_that_is_refused_is_for_the_user_and_what_was_drawn_is_kept(project):
    with OpenAiServer(classify) as server:
        serve(project, server)
        git(project, "branch", "--force", "main", "HEAD")
        commit(project, NEUTRAL)
        server.respond = lambda request: (
            error(401, "no", "invalid_api_key") if server.calls > 60 else classify(request)
        )
        with pytest.raises(Denied):
            measure(project)
        kept = sum(run.processed for run in runs(project))
        assert kept
        calls, server.respond = server.calls, classify
        assert measure(project).outcome == "no_worse"
        assert server.calls < calls + 90


def test_the_baseline_that_cannot_answer_todays_cases_is_a_note(project):
    prompt, rows = PROMPT.replace("input.review", "input.text"), reviews()
    commit(project, {"prompts/classify.txt": prompt,
                     "data/reviews.csv": rows.replace("review_id,review,", "review_id,text,"),
                     "tests/demo_test.yaml": SUITE.replace("review:", "text:")})  # fmt: skip
    found = measure(project)
    assert (found.outcome, found.missing_baseline) == ("inconclusive", True)
    assert "cannot be measured with these cases" in one(found).notes[0]
    assert "no field 'review'" in one(found).notes[0]


def test_a_prompt_that_wants_what_no_case_has_is_told_before_anything_is_asked(project):
    commit(project, {"prompts/classify.txt": PROMPT + "{{ input.nope }}"})
    with pytest.raises(ProblemsFound, match=r"prompts/classify.txt:14:.*input.nope"):
        measure(project)
    assert runs(project) == []


# -- which revisions


def test_a_merge_that_nobody_made_is_measured(project):
    commit(project, WORSE)
    git(project, "checkout", "--quiet", "main")
    commit(project, NEUTRAL)
    before = git(project, "for-each-ref")
    found = measure(project, merged=("main", "feature"))
    assert found.outcome == "degraded"
    assert found.head.name == "feature merged into main"
    assert one(found).inputs[0].startswith("context/taxonomy.md")
    assert len(one(found).inputs) == 1  # what main has of its own is on both sides
    assert git(project, "for-each-ref") == before


def test_a_merge_that_conflicts_is_the_users_to_solve(project):
    commit(project, NEUTRAL)
    git(project, "checkout", "--quiet", "main")
    commit(project, {"prompts/classify.txt": "Something else: {{ input.review }}"})
    done = loom(project, "compare", "--merged", "main", "feature")
    assert done.returncode == 2
    assert done.stderr.startswith("error: main and feature conflict in prompts/classify.txt\n")


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["nope..HEAD"], ["--head", "nope"], ["--merged", "main", "nope"], [""],
     ["main..feature", "--head", "index"], ["main", "--merged", "main", "feature"],
     ["--pipeline", "nope"], ["--select", "nope"], ["--select", "state:nope"], ["--select", " "],
     ["--aa-from", "3"], ["--max-drop", "2"], ["--max-drop", "nan"], ["--max-rise", "x"],
     ["--format", "pdf"]],
)  # fmt: skip
def test_what_is_asked_wrongly_is_one_line_and_exit_2(project, arguments):
    done = loom(project, "compare", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_resolve_says_what_would_be_compared(project):
    head = commit(project, WORSE)
    base = git(project, "rev-parse", "main")
    done = loom(project, "compare", "--resolve")
    assert done.returncode == 0
    assert done.stdout == (f"Base: merge base with main ({base[:8]})\nHead: feature ({head[:8]})\n")
    document = json.loads(loom(project, "compare", "--resolve", "--json").stdout)
    assert document == {
        "schema_version": 1,
        "base": {"name": "merge base with main", "commit": base},
        "head": {"name": "feature", "commit": head},
        "why": "",
    }
    git(project, "checkout", "--quiet", "main")
    done = loom(project, "compare", "--resolve", "--require-baseline")
    assert done.returncode == 1
    assert "the head is the first commit" in done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("all_pass", "any_pass"),
        ("reference_field: expected}", "reference_field: expected, threshold: 0.5}"),
        ("  quality_gate", "  model: gpt-5\n  quality_gate"),  # no evaluator asks a judge
    ],
)
def test_what_changes_no_score_is_no_part_of_the_question(project, old, new):
    measure(project)
    commit(project, changed(old, new) | WORSE)
    found = measure(project)
    assert (found.outcome, label(found).base, one(found).differs) == ("degraded", 1.0, ())


def test_samples_pass_by_the_stricter_threshold_of_both_sides(project):
    measure(project)
    commit(
        project, changed("reference_field: expected}", "reference_field: expected, threshold: 0}")
    )
    commit(project, WORSE)
    passes = next(m for m in one(measure(project)).metrics if m.name == "pass_rate")
    assert passes.head == pytest.approx(31 / 61)  # by 0 all of them would pass


def test_another_limit_of_a_unit_test_is_no_other_question(project):
    measure(project)
    other = SUITE.replace("{sentiment: positive}", "{sentiment: positive, min_confidence: 0.1}")
    commit(project, {"tests/demo_test.yaml": other, **NEUTRAL})
    found = measure(project)
    assert (one(found).changed, one(found).compared, found.outcome) == ((), 61, "no_worse")


def test_explain_says_which_inputs_differ(project):
    (project / "prompts/classify.txt").chmod(0o755)
    commit(project, WORSE | {".loom/config.yaml": "defaults: {model: gpt-4o-mini}\n"})
    lines = loom(project, "compare", "--explain").stdout.splitlines()
    differs = [line.strip() for line in lines if line.startswith("  differs: ")]
    assert differs[0].startswith("differs: context/taxonomy.md: ")
    assert differs[1] == "differs: prompts/classify.txt: mode 100644 -> 100755"
    assert differs[2:] == ["differs: model: embedded/icl -> gpt-4o-mini"]
    assert "differs: nothing" in loom(project, "compare", "HEAD..HEAD", "--explain").stdout


def test_strict_takes_proof(project):
    commit(project, {"data/reviews.csv": reviews(8)})
    git(project, "branch", "--force", "main", "HEAD")
    commit(project, {"context/taxonomy.md": TAXONOMY.replace("broken, hate", "broken")})
    assert measure(project).outcome == "inconclusive"
    done = loom(project, "compare")
    assert done.returncode == 0
    assert "can detect drops of" in done.stdout
    assert loom(project, "compare", "--strict").returncode == 1


def test_the_staged_content_is_compared_not_what_lies_about(project):
    write(project, WORSE)
    git(project, "add", "--all")
    write(project, BETTER)
    assert measure(project, head="index").outcome == "degraded"
    assert compare(project, head="worktree").outcome == "unchanged"
    git(project, "commit", "--quiet", "-m", "x")
    git(project, "checkout", "--quiet", "--force", ".")
    count = len(runs(project))
    assert measure(project).outcome == "degraded"  # known since it was staged
    assert len(runs(project)) == count


def test_new_gone_and_broken_pipelines_are_told_and_stop_nothing(project):
    git(project, "checkout", "--quiet", "main")
    commit(project, {"pipelines/old.yaml": PIPELINE.replace("name: demo", "name: old"),
                     "pipelines/broken.yaml": "name: broken\n"})  # fmt: skip
    git(project, "checkout", "--quiet", "-b", "mine")
    git(project, "rm", "--quiet", "pipelines/old.yaml")
    commit(project, {"pipelines/new.yaml": PIPELINE.replace("name: demo", "name: new"),
                     "pipelines/broken.yaml": PIPELINE.replace("name: demo", "name: broken")}
           | NEUTRAL)  # fmt: skip
    found = measure(project)
    assert {p.pipeline: (p.outcome, p.new) for p in found.pipelines} == {
        "broken": ("inconclusive", False), "demo": ("no_worse", False),
        "new": ("inconclusive", True),
    }  # fmt: skip
    assert found.notes == ("pipeline old is gone",)
    assert found.missing_baseline
    broken = found.pipelines[0]
    assert broken.notes[0].startswith("the baseline's pipeline cannot be used: pipelines/broken")
    assert compare(project, pipelines=("demo",)).outcome == "no_worse"
    only_new = compare(project, pipelines=("new",))
    assert not only_new.blocks(strict=True)
    said = loom(project, "compare", "--pipeline", "new").stdout
    assert "new: new" in said
    assert "Nothing to compare: new is new" in said


def test_a_broken_pipeline_at_the_head_is_the_users_to_mend(project):
    commit(project, {"pipelines/demo.yaml": PIPELINE.replace("transform:", "transfrom:")})
    done = loom(project, "compare")
    assert done.returncode == 2
    assert "pipelines/demo.yaml:" in done.stderr


def test_a_broken_test_file_at_the_head_too(project):
    write(project, WORSE | {"tests/demo_test.yaml": "pipeline: demo\nunit_test: []\n"})
    with pytest.raises(ProblemsFound, match="tests/demo_test.yaml:2"):
        compare(project)


def test_broken_tests_at_the_baseline_are_a_note(project):
    git(project, "checkout", "--quiet", "main")
    commit(project, {"tests/demo_test.yaml": "pipeline: demo\nunit_test: []\n"})
    git(project, "checkout", "--quiet", "-b", "mine")
    commit(project, WORSE | {"tests/demo_test.yaml": SUITE})
    found = measure(project)
    assert found.outcome == "degraded"
    assert any("own cases cannot be read" in note for note in one(found).notes)


def test_the_same_commit_on_both_sides_is_told(project):
    assert "both sides are the same commit" in compare(project).notes


def test_without_a_project_or_repository_it_is_one_line(tmp_path):
    done = loom(tmp_path, "compare")
    assert done.returncode == 2
    assert "is not in a Loom project" in done.stderr
    (tmp_path / "pipelines").mkdir()
    done = loom(tmp_path, "compare")
    assert done.returncode == 2
    assert "Git repository" in done.stderr
    with pytest.raises(UserError):
        Project(tmp_path).resolve()


def loaded(folder, *arguments):
    """The modules that a comparison in a fresh process loads."""
    code = (
        "import sys\nfrom loomgit.cli import _run\n"
        f"_run({['compare', *arguments, '--project', str(folder)]!r})\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_what_is_stored_is_compared_without_what_measures(project):
    commit(project, WORSE)
    measure(project)
    found = loaded(project)
    heavy = {"litellm", "arbiter_ai", "duckdb", "scipy", "aiohttp", "rapidfuzz", "jsonschema_rs"}
    assert not found & heavy
    assert "numpy" in found  # the verdict
    assert "numpy" not in loaded(project, "HEAD..HEAD")  # none is needed
