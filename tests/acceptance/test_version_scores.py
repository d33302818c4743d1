"""The score of a version, in `loom log` and the compliance report, with real runs in a real
repository."""

import json
import os

import pytest

from loomgit import cli
from loomgit.api import Project
from tests import processes
from tests.comparisons import SUITE, with_transform
from tests.projects import FILES, PIPELINE, TAXONOMY, make_project
from tests.projects import PROMPT as TEXT
from tests.repos import commit, git, make, write
from tests.servers.openai_server import OpenAiServer

PROMPT = "prompts/classify.txt"
CONTEXT = "context/taxonomy.md"
DEMO = "pipelines/demo.yaml"
SWAPPED = TAXONOMY.replace("love", "love, hate").replace("broken, hate", "broken")
EMPTY = "There are two kinds of reviews.\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make_project(tmp_path / "desk")
    monkeypatch.chdir(folder)
    return folder


def run(folder, name="demo", **options):
    return Project(folder, warn=pytest.fail).run(name, **options)


def loom(folder, *arguments):
    return processes.run("loomgit", *arguments, cwd=folder, env=dict(os.environ))


def versions(capsys, *flags, path=PROMPT):
    assert cli._run(["log", path, "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)["versions"]


def changes(capsys, path=PROMPT):
    assert cli._run(["report", "--compliance", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    return [change for change in document["changes"] if change["path"] == path]


def mean(version):
    return version["scores"]["label"]["mean"] if version["scores"] else None


def others(version):
    return [
        (found["differs"], mean(found)) for found in version["results"] if not found["own"]
    ]  # fmt: skip


def only(found):
    (one,) = found
    return one


def only_file(folder, run):
    return only((folder / ".loom" / "runs").glob(f"*/{run.uid}.json"))


# -- other inputs


def test_other_contexts_in_the_working_tree_do_not_move_the_score_of_a_commit(project, capsys):
    run(project)
    assert [mean(v) for v in (*versions(capsys), *changes(capsys))] == [1.0, 1.0]
    for text in (SWAPPED, EMPTY):
        write(project, {CONTEXT: text})
        run(project)
        assert [mean(v) for v in (*versions(capsys), *changes(capsys))] == [1.0, 1.0]
    blob = git(project, "hash-object", CONTEXT)[:8]
    for version in (*versions(capsys), *changes(capsys)):
        assert len(version["results"]) == 3
        (differs, score), (_, swapped) = others(version)
        assert differs == [f"context taxonomy g{blob}.dirty", "uncommitted work"]
        assert (score, swapped) == (0.5, 0.75)


def test_other_results_are_lines_of_their_own(project, capsys):
    run(project)
    write(project, {CONTEXT: SWAPPED})
    run(project)
    assert cli._run(["log", PROMPT]) == 0
    _, version, other = capsys.readouterr().out.splitlines()
    assert "  1.000  " in version
    assert "  0.750  " in other
    assert "with context taxonomy" in other
    assert cli._run(["report", "--compliance"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(n for n, line in enumerate(lines) if PROMPT in line)
    assert "label 1.000" in lines[place]
    assert "label 0.750 with context taxonomy" in lines[place + 1]


def test_a_context_that_was_committed_is_scored_by_its_own_commit(project, capsys):
    run(project)
    commit(project, {CONTEXT: SWAPPED}, "Swap")
    run(project)
    assert mean(only(versions(capsys))) == 1.0
    new, old = versions(capsys, path=CONTEXT)
    assert (mean(new), mean(old)) == (0.75, 1.0)
    assert others(new) == others(old) == []
    new, old = changes(capsys, path=CONTEXT)
    assert (mean(new), mean(old)) == (0.75, 1.0)


def test_results_before_the_versions_own_are_not_its_score(project, capsys):
    write(project, {CONTEXT: SWAPPED})
    run(project)
    assert mean(only(versions(capsys))) is None
    assert mean(only(changes(capsys))) is None
    git(project, "checkout", "--quiet", "--", CONTEXT)
    run(project)
    assert mean(only(versions(capsys))) == 1.0


def test_uncommitted_work_with_the_same_inputs_is_apart(project, capsys):
    write(project, {"data/reviews.csv": "review_id,review,expected\nr-1,This is great,negative\n"})
    run(project)
    version = only(versions(capsys))
    assert mean(version) is None
    assert others(version) == [(["uncommitted work"], 0.0)]


def test_a_version_that_is_not_committed_has_the_score_of_the_working_tree(project, capsys):
    run(project)
    write(project, {PROMPT: TEXT + "\nBe brief.\n"})
    run(project)
    write(project, {CONTEXT: EMPTY})
    run(project)
    draft, old = versions(capsys)
    assert (draft["worktree"], mean(draft), mean(old)) == (True, 0.5, 1.0)
    assert [score for _, score in others(draft)] == [1.0]
    assert others(draft)[0][0][0].startswith("context taxonomy ")


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({DEMO: with_transform("temperature: 0.5")}, ["temperature 0.5"]),
        ({DEMO: PIPELINE.replace("field: sentiment, ", "")}, ["evaluator label"]),
    ],
)
def test_a_line_says_what_differs(project, capsys, change, differs):
    run(project)
    commit(project, change)
    run(project)
    version = only(versions(capsys))
    assert mean(version) == 1.0
    assert [names for names, _ in others(version)] == [differs]


def test_a_run_of_a_part_of_the_records_is_apart(project, capsys):
    run(project, limit=2)
    version = only(versions(capsys))
    assert mean(version) is None
    assert others(version) == [(["first 2 records"], 1.0)]
    run(project)
    version = only(versions(capsys))
    assert version["scores"]["label"] == {"mean": 1.0, "n": 4}


def test_a_limit_beyond_the_records_leaves_a_whole_run(project, capsys):
    run(project, limit=10)
    assert mean(only(versions(capsys))) == 1.0


def test_other_variables_are_apart(project, capsys):
    commit(project, {PROMPT: TEXT + "\n{{ vars.tone }}\n"}, "Ask for a tone")
    run(project, variables={"tone": "kind"})
    version, _ = versions(capsys)
    assert mean(version) is None
    assert others(version) == [(["vars.tone kind"], 1.0)]


def test_the_default_variables_are_those_of_the_version(project, capsys):
    files = {
        PROMPT: TEXT + "\n{{ vars.tone }}\n",
        "pipelines/demo.yaml": PIPELINE.replace("name: demo\n", "name: demo\nvars: {tone: dry}\n"),
    }
    commit(project, files, "Ask for a tone")
    run(project)
    run(project, variables={"tone": "kind"})
    version = versions(capsys)[0]
    assert others(version) == [(["vars.tone kind"], 1.0)]
    assert [result["own"] for result in version["results"]] == [True, False]


def test_a_prompt_with_blocks_that_needs_variables_is_read_all_the_same(project, capsys):
    text = TEXT + "\n{% if vars.tone == 'kind' %}Be kind.{% endif %}\n"
    commit(project, {PROMPT: text}, "Ask for a tone")
    run(project, variables={"tone": "kind"})
    version, _ = versions(capsys)
    assert others(version) == [(["vars.tone kind"], 1.0)]


# -- tests


MODEL = SUITE + "\n".join(
    [
        "  - {name: other, type: statistical, model: gpt-4o-mini,",
        '     assertions: ["mean(evaluation_scores) > 0.1"]}',
        "",
    ]
)


def test_prompt_tests_and_pipeline_runs_are_apart(project, capsys):
    commit(project, {"tests/demo_test.yaml": SUITE}, "Test")
    run(project)
    assert loom(project, "test").returncode == 0
    version = only(versions(capsys))
    assert [(found["kind"], found["own"]) for found in version["results"]] == [
        ("pipeline", True), ("test", True),
    ]  # fmt: skip
    assert version["scores"]["label"] == {"mean": 1.0, "n": 4}


def test_a_model_that_a_test_asks_is_apart(project, capsys, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "k")
    with OpenAiServer(lambda _: '{"sentiment": "positive", "confidence": 1}') as server:
        config = "models:\n  gpt-4o-mini: {base_url: %s, api_key: '${LOOM_TEST_KEY}'}\n"
        write(project, {".loom/config.yaml": config % server.url})
        commit(project, {"tests/demo_test.yaml": MODEL}, "Test")
        loom(project, "test")
    version = only(versions(capsys))
    assert mean(version) == 1.0
    ((differs, score),) = others(version)
    assert differs[0] == "model gpt-4o-mini"
    assert score == 0.5


def test_a_baseline_that_was_asked_todays_question_is_apart(project, capsys):
    commit(project, {"tests/demo_test.yaml": SUITE}, "Test")
    git(project, "checkout", "--quiet", "-b", "feature")
    data = "review_id,review,expected\nr-9,This is bad,positive\nr-8,I love it,positive\n"
    commit(project, {PROMPT: TEXT + "\nBe brief.\n", "data/reviews.csv": data}, "Other cases")
    done = loom(project, "compare", "--run-missing")
    assert done.returncode in (0, 1), done.stderr
    new, old = versions(capsys)
    assert mean(new) == 0.5
    assert mean(old) is None
    head = git(project, "rev-parse", "HEAD")[:8]
    assert [names for names, _ in others(old)] == [
        [f"measured with the cases and evaluators of {head}"]
    ]


def test_a_baseline_that_was_asked_its_own_cases_has_a_score(project, capsys):
    commit(project, {"tests/demo_test.yaml": SUITE}, "Test")
    git(project, "checkout", "--quiet", "-b", "feature")
    commit(project, {PROMPT: TEXT + "\nBe brief.\n"}, "Be brief")
    assert loom(project, "compare", "--run-missing").returncode == 0
    assert [mean(version) for version in versions(capsys)] == [1.0, 1.0]


def test_a_baseline_that_was_judged_by_other_evaluators_is_apart(project, capsys):
    commit(project, {"tests/demo_test.yaml": SUITE, PROMPT: TEXT + "\nBe kind.\n"}, "Test")
    git(project, "checkout", "--quiet", "-b", "feature")
    text = PIPELINE.replace("  quality_gate: all_pass", "  sample: 0.5\n  quality_gate: all_pass")
    commit(project, {PROMPT: TEXT + "\nBe brief.\n", DEMO: text}, "Judge a sample")
    done = loom(project, "compare", "--run-missing")
    assert done.returncode == 0, done.stderr
    old = versions(capsys)[1]
    assert mean(old) is None
    head = git(project, "rev-parse", "HEAD")[:8]
    ((differs, score),) = others(old)
    assert (differs[-1], score) == (f"measured with the cases and evaluators of {head}", 1.0)


# -- what does not move a score


def test_results_of_an_older_loom_stay_with_their_commit(project, capsys):
    stored = only_file(project, run(project))
    document = json.loads(stored.read_bytes())
    document["config"]["fingerprint"] = "f" * 64  # an older Loom computed it differently
    stored.write_text(json.dumps(document), encoding="utf-8")
    (project / ".loom" / "index.json").unlink(missing_ok=True)
    (project / ".loom" / "state" / "index.journal").unlink(missing_ok=True)
    assert [mean(v) for v in (*versions(capsys), *changes(capsys))] == [1.0, 1.0]
    commit(project, {"README.md": "x"}, "Elsewhere")
    document |= {"uid": "u-2", "commit": {**document["commit"], "id": "c" * 40}}
    document["evaluation"]["label"]["mean"] = 0.25
    stored.with_name("u-2.json").write_text(json.dumps(document), encoding="utf-8")
    version = only(versions(capsys))
    assert mean(version) == 1.0
    assert others(version) == [(["other inputs, or an older evaluation format"], 0.25)]


def test_a_later_run_of_the_same_inputs_is_a_further_run(project, capsys):
    first = run(project)
    data = "review_id,review,expected\nr-1,This is great,negative\n"
    commit(project, {"data/reviews.csv": data}, "Other data")
    second = run(project)
    version = only(versions(capsys))
    assert mean(version) == 1.0
    (result,) = version["results"]
    assert result["run"]["uid"] == first.uid
    assert [again["uid"] for again in result["further_runs"]] == [second.uid]
    assert cli._run(["log", PROMPT]) == 0
    assert "measured again" in capsys.readouterr().out


def test_a_reported_score_stays_when_its_run_goes_or_an_earlier_one_comes(project, capsys):
    data = "review_id,review,expected\nr-1,This is great,negative\n"
    earlier = run(project)
    path = only_file(project, earlier)
    content = path.read_bytes()
    path.unlink()  # it is on another machine until `loom sync pull`
    commit(project, {"data/reviews.csv": data}, "Other data")
    run(project)
    assert mean(only(changes(capsys))) == 0.0
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert [mean(v) for v in (*versions(capsys), *changes(capsys))] == [0.0, 0.0]
    for file in (project / ".loom" / "runs").glob("*/*.json"):
        file.unlink()
    assert [mean(v) for v in (*versions(capsys), *changes(capsys))] == [0.0, 0.0]


def test_a_store_that_cannot_be_written_is_a_warning(project, capsys):
    run(project)
    (project / ".loom" / "state" / "reported-scores.jsonl").mkdir()
    assert cli._run(["report", "--compliance"]) == 0
    said = capsys.readouterr()
    assert "label 1.000" in said.out
    assert "warning: later runs may change the scores of this report" in said.err


# -- pipelines and versions


def test_two_pipelines_with_the_same_prompt_are_apart(project, capsys):
    other = PIPELINE.replace("name: demo", "name: other").replace("demo.db", "other.db")
    other = other.replace(CONTEXT, "context/other/taxonomy.md")
    text = {"pipelines/other.yaml": other, "context/other/taxonomy.md": EMPTY}
    commit(project, text, "Other")
    run(project)
    run(project, "other")
    version = only(versions(capsys))
    assert mean(version) == 1.0
    assert [(found["pipeline"], found["own"], mean(found)) for found in version["results"]] == [
        ("demo", True, 1.0), ("other", True, 0.5),
    ]  # fmt: skip
    assert mean(only(versions(capsys, "--pipeline", "other"))) == 0.5


def test_a_pinned_version_is_scored_where_the_pipeline_first_uses_it(project, capsys):
    git(project, "tag", "prompts/classify@v1")
    pinned = with_transform("prompt_version: v1")
    commit(project, {DEMO: pinned}, "Pin v1")
    run(project)
    commit(project, {PROMPT: TEXT + "\nBe brief.\n"}, "Second")
    git(project, "tag", "prompts/classify@v2")
    run(project)
    second, first = versions(capsys)
    assert (mean(second), mean(first)) == (None, 1.0)
    assert second["runs"] == 0
    commit(project, {DEMO: with_transform("prompt_version: v2")}, "Use v2")
    run(project)
    commit(project, {CONTEXT: EMPTY}, "Empty the taxonomy")
    run(project)
    second, first = versions(capsys)
    assert (second["version"], mean(second), mean(first)) == ("v2", 1.0, 1.0)
    assert [score for _, score in others(second)] == [0.5]


def test_a_prompt_that_was_renamed_keeps_its_score(project, capsys):
    run(project)
    git(project, "mv", PROMPT, "prompts/label.txt")
    commit(project, {DEMO: PIPELINE.replace(PROMPT, "prompts/label.txt")}, "Rename")
    write(project, {CONTEXT: EMPTY})
    run(project)
    version = only(versions(capsys, path="prompts/label.txt"))
    assert (version["path"], mean(version)) == (PROMPT, 1.0)
    assert mean(only(changes(capsys, "prompts/label.txt"))) == 1.0
    assert [score for _, score in others(version)] == [0.5]


def test_a_squashed_branch_has_the_score_of_its_content(project, capsys):
    git(project, "checkout", "--quiet", "-b", "feature")
    commit(project, {PROMPT: TEXT + "\nBe brief.\n"}, "Be brief")
    run(project)
    git(project, "checkout", "--quiet", "main")
    git(project, "merge", "--quiet", "--squash", "feature")
    commit(project, {}, "Squashed")
    git(project, "branch", "--quiet", "-D", "feature")
    new, _ = versions(capsys)
    assert (new["subject"], mean(new)) == ("Squashed", 1.0)


EVALUATOR = """\
def label(output, record):
    return 1.0 if record["expected"] == output["sentiment"] else 0.0
"""


RAG = """\
  type: rag
  retrieve: {documents: ["docs/**/*.md"], query_field: review}
  output:"""


def test_all_that_a_pipeline_reads_is_read_at_the_commit(tmp_path, monkeypatch, capsys):
    whole = make(tmp_path / "whole")
    text = PIPELINE.replace("type: exact_match", "type: tests/evaluators.py:label")
    text = text.replace("  output:", RAG)
    text = text.replace("      config: {field: sentiment, reference_field: expected}\n", "")
    files = {
        **FILES,
        DEMO: text,
        PROMPT: TEXT + "\n{% include 'parts/brief.txt' %}{{ context.retrieved_documents }}\n",
        "prompts/parts/brief.txt": "Be brief.\n",
        "tests/evaluators.py": EVALUATOR,
        "docs/a.md": "Great products\n",
    }
    commit(whole, {f"apps/bot/{name}": content for name, content in files.items()}, "Begin")
    project = whole / "apps" / "bot"
    monkeypatch.chdir(project)
    run(project)
    paths = (PROMPT, "prompts/parts/brief.txt", DEMO, "tests/evaluators.py", CONTEXT)
    scores = {path: mean(only(versions(capsys, path=path))) for path in paths}
    assert set(scores.values()) == {mean(only(changes(capsys)))} != {None}
    commit(project, {"docs/a.md": "Broken products\n"}, "Other documents")
    run(project)
    version = only(versions(capsys))
    assert len(version["results"]) == 2
    assert others(version)[0][0] == ["docs/a.md"]


def test_a_shallow_clone_has_the_scores_of_the_versions_that_it_has(project, capsys, monkeypatch):
    commit(project, {PROMPT: TEXT + "\nBe brief.\n"}, "Be brief")
    git(project.parent, "clone", "--quiet", "--depth=1", f"file://{project}", "shallow")
    shallow = project.parent / "shallow"
    monkeypatch.chdir(shallow)
    run(shallow)
    assert mean(only(versions(capsys))) == 1.0


def test_a_pipeline_that_cannot_be_read_gives_no_score(project, capsys):
    commit(project, {DEMO: "name: [\n"}, "Break")
    commit(project, {PROMPT: TEXT + "\nBe brief.\n"}, "Second")
    commit(project, {DEMO: PIPELINE}, "Mend")
    run(project)
    second, _ = versions(capsys)
    assert mean(second) == 1.0


def test_the_log_of_a_pipeline_follows_the_same_rules(project, capsys):
    run(project)
    commit(project, {DEMO: PIPELINE + "description: Of products\n"}, "Describe")
    write(project, {CONTEXT: EMPTY})
    run(project)
    described, first = versions(capsys, path=DEMO)
    assert (mean(described), mean(first)) == (1.0, 1.0)
    assert [score for _, score in others(described)] == [0.5]


# -- the overview


def test_the_trend_has_the_score_of_a_commit_and_uncommitted_work_apart(project, capsys):
    run(project)
    run(project, limit=2)
    for text in (SWAPPED, EMPTY):
        write(project, {CONTEXT: text})
        run(project)
    assert cli._run(["report", "--json"]) == 0
    (pipeline,) = json.loads(capsys.readouterr().out)["pipelines"]
    (trend,) = pipeline["trends"]
    assert [(point["dirty"], point["scores"]["label"]) for point in trend["commits"]] == [
        (False, 1.0), (True, 0.75), (True, 0.5),
    ]  # fmt: skip
    assert mean(only(pipeline["versions"])) == 1.0
    assert cli._run(["report"]) == 0
    assert "  pipeline runs: label 1.000\n" in capsys.readouterr().out
    page = project / "out" / "report.html"
    assert cli._run(["report", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8").replace("<wbr>", "")
    assert "label 0.500 with context taxonomy" in text


def test_the_trend_leaves_out_other_variables_at_a_commit(project, capsys):
    run(project, variables={"tone": "kind"})
    run(project)
    assert cli._run(["report", "--json"]) == 0
    (pipeline,) = json.loads(capsys.readouterr().out)["pipelines"]
    assert len(pipeline["trends"][0]["commits"]) == 1
