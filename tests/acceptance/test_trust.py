"""Whose code runs, and where keys go, if a revision is measured that nobody has trusted."""

import json
import sys

import pytest

from tests.command import loom
from tests.comparisons import NEUTRAL, classify, make_comparable, with_transform
from tests.projects import PIPELINE
from tests.repos import commit, git
from tests.servers.openai_server import OpenAiServer
from tests.ways import OWN, OWN_FILES

QUALITY = """\
distributional_tests:
  - {name: quality, type: statistical, assertions: ["mean(evaluation_scores) > 0.1"]}
"""
KEY = "sk-nobody-but-the-provider-may-see-this"
ASKING = {
    "pipelines/demo.yaml": with_transform("model: m"),
    "tests/demo_test.yaml": "pipeline: demo\ndataset: data/reviews.csv\n" + QUALITY,
    "data/reviews.csv": "review_id,review,expected\nr-1,It is great,positive\n",
}


def configuration(url, more=""):
    return f"models:\n  m: {{base_url: '{url}', api_key: '${{SOME_KEY}}'{more}}}\n"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)


@pytest.fixture
def marker(tmp_path):
    """A file that code of the other revision makes if it runs."""
    return tmp_path / "ran"


@pytest.fixture
def server():
    with OpenAiServer(respond=classify) as server:
        yield server


@pytest.fixture
def thief():
    with OpenAiServer(respond=classify) as server:
        yield server


def branch(project, files, alter=lambda project: None):
    """A branch with a change, beside the checkout of main."""
    git(project, "checkout", "--quiet", "-b", "theirs", "main")
    alter(project)
    commit(project, files, "Theirs")
    git(project, "checkout", "--quiet", "main")
    return project


def compare(project, *arguments, expression="main...theirs"):
    done = loom(project, "compare", expression, "--run-missing", "--format", "json", *arguments)
    assert done.stdout, done.stderr
    return done, json.loads(done.stdout)


def notes(found):
    return " ".join(found["pipelines"][0]["notes"])


def write_marker(marker):
    return f"open({str(marker)!r}, 'w').close()\n"


def own(tmp_path, **files):
    return make_comparable(tmp_path / "project", **{**OWN_FILES, **files})


CODE = {
    "the evaluator": lambda marker: {
        "checks/own.py": write_marker(marker) + OWN_FILES["checks/own.py"]
    },
    "a module of it": lambda marker: {
        "checks/rules.py": write_marker(marker) + OWN_FILES["checks/rules.py"]
    },
    "a package around a module": lambda marker: {"checks/__init__.py": write_marker(marker)},
    "a module in place of a library's": lambda marker: {"pathlib.py": write_marker(marker)},
    "an evaluator of another file": lambda marker: {
        "pipelines/demo.yaml": OWN.replace("checks/own.py", "checks/new.py"),
        "checks/new.py": write_marker(marker) + "def score(output, record):\n    return 1.0\n",
    },
    "a file of the checkout that is no evaluator": lambda marker: {
        "pipelines/demo.yaml": OWN.replace("checks/own.py:score", "scripts/deploy.py:deploy")
    },
    "another function of an evaluator's file": lambda marker: {
        "pipelines/demo.yaml": OWN.replace("checks/own.py:score", "checks/own.py:right")
    },
    "the first evaluator": lambda marker: {
        "pipelines/demo.yaml": OWN.replace("checks/own.py:score", "evil.py:score"),
        "evil.py": write_marker(marker) + "def score(output, record):\n    return 1.0\n",
    },
}


@pytest.mark.parametrize("change", CODE.values(), ids=CODE)
def test_another_branch_does_not_run_its_code(tmp_path, marker, change):
    deploy = write_marker(marker) + "\n\ndef deploy(output, record):\n    return 1.0\n"
    project = branch(own(tmp_path, **{"scripts/deploy.py": deploy}), {**change(marker), **NEUTRAL})
    done, found = compare(project)
    assert not marker.exists()
    assert "is unverified: it changes the code of evaluators" in notes(found)
    assert "--trust-revision" in notes(found)
    assert found["outcome"] == "inconclusive"
    assert done.returncode == 0
    assert compare(project, "--strict")[0].returncode == 1
    assert compare(project, "--require-baseline")[0].returncode == 1
    assert not marker.exists()


@pytest.mark.parametrize("change", [*CODE.values()][:3], ids=[*CODE][:3])
def test_with_trust_revision_it_is_measured(tmp_path, marker, change):
    project = branch(own(tmp_path), {**change(marker), **NEUTRAL})
    _, found = compare(project, "--trust-revision")
    assert marker.exists()
    assert "unverified" not in notes(found)
    assert found["pipelines"][0]["head"]["measured"]


HIDING = {
    "a module that a module of Python imports": "heapq.py",
    "a module that is loaded": "json.py",
    "a module that Python imports by itself": "sitecustomize.py",
    "the user's own": "usercustomize.py",
    "a test's helper": "conftest.py",
    "a module in a package": "json/__init__.py",
}


@pytest.mark.parametrize("name", HIDING.values(), ids=HIDING)
def test_a_module_beside_an_unchanged_evaluator_does_not_run(tmp_path, marker, name, monkeypatch):
    """What the evaluator imports is imported from the checkout."""
    monkeypatch.delitem(sys.modules, "sched", raising=False)
    files = {"checks/texts.py": "import sched\n" + OWN_FILES["checks/texts.py"]}
    project = branch(own(tmp_path, **files), {name: write_marker(marker), **NEUTRAL})
    _, found = compare(project)
    assert not marker.exists()
    assert found["pipelines"][0]["head"]["measured"]


def test_what_may_change_is_measured(tmp_path, server):
    project = make_comparable(
        tmp_path / "project", **ASKING, **{".loom/config.yaml": configuration(server.url)}
    )
    more = "r-2,It is bad,negative\n"
    branch(
        project,
        {
            **NEUTRAL,
            "context/taxonomy.md": "Cue words: great\n",
            "data/reviews.csv": ASKING["data/reviews.csv"] + more,
            ".loom/config.yaml": configuration(server.url, ", input_price: 1.0, output_price: 1"),
        },
    )
    _, found = compare(project, "--allow-removed")
    assert found["pipelines"][0]["head"]["measured"]
    assert server.calls == 4  # today's two cases, of both sides


ROUTES = {
    "the address": lambda thief: configuration(thief.url),
    "the key": lambda thief: configuration("{here}").replace("SOME_KEY", "OTHER_KEY"),
    "a key in the address": lambda thief: configuration(f"{thief.url}/${{SOME_KEY}}"),
    "the lane": lambda thief: configuration("{here}", ", lane: litellm"),
    "the model's whole entry": lambda thief: (
        f"models:\n  other: {{base_url: '{thief.url}', api_key: '${{SOME_KEY}}'}}\n"
        "defaults: {model: other}\n"
    ),
}


@pytest.mark.parametrize("text", ROUTES.values(), ids=ROUTES)
def test_another_branch_does_not_say_where_keys_go(tmp_path, server, thief, text, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "another-secret")
    project = make_comparable(
        tmp_path / "project", **ASKING, **{".loom/config.yaml": configuration(server.url)}
    )
    change = {".loom/config.yaml": text(thief).replace("{here}", server.url), **NEUTRAL}
    if "other" in change[".loom/config.yaml"]:
        change["pipelines/demo.yaml"] = PIPELINE
    branch(project, change)
    _, found = compare(project)
    assert thief.calls == 0
    assert "is unverified: it changes the address or the key of the model" in notes(found)
    assert not any("another-secret" in str(headers) for headers in server.headers)


@pytest.mark.parametrize("field", ["fallback_models: [f]", "model: f"])
def test_the_models_that_stand_in_and_judge_too(tmp_path, server, thief, field):
    project = make_comparable(
        tmp_path / "project", **ASKING, **{".loom/config.yaml": configuration(server.url)}
    )
    theirs = (
        configuration(server.url) + f"  f: {{base_url: '{thief.url}', api_key: '${{SOME_KEY}}'}}\n"
    )
    text = with_transform("model: m\n  fallback_models: [f]")
    if field.startswith("model"):
        text = ASKING["pipelines/demo.yaml"].replace(
            "  quality_gate",
            "    - {type: custom_criteria, criteria: Good}\n  model: f\n  quality_gate",
        )
    branch(project, {".loom/config.yaml": theirs, "pipelines/demo.yaml": text, **NEUTRAL})
    _, found = compare(project)
    assert thief.calls == 0
    assert "the model f" in notes(found)


PARAMS = {
    "a list of models": "model_list: [{model_name: m, litellm_params: {api_base: 'URL'}}]",
    "an endpoint of a provider": "aws_bedrock_runtime_endpoint: 'URL'",
    "a variable of the environment": "aws_web_identity_token: oidc/env/SOME_KEY",
}


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_another_branch_does_not_send_calls_elsewhere_by_parameters(
    tmp_path, server, thief, params
):
    config = {".loom/config.yaml": configuration(server.url)}
    project = make_comparable(tmp_path / "project", **{**ASKING, **config})
    line = f"params: {{{params.replace('URL', thief.url)}}}"
    text = ASKING["pipelines/demo.yaml"].replace("  prompt:", f"  {line}\n  prompt:")
    branch(project, {"pipelines/demo.yaml": text, **NEUTRAL})
    _, found = compare(project)
    assert (server.calls, thief.calls) == (0, 0)
    assert "is unverified: it changes transform.params" in notes(found)


@pytest.mark.parametrize("expression", ["main...theirs", "theirs..main"])
def test_a_parameter_is_checked_although_another_version_has_opened_the_gateway(
    tmp_path, server, expression
):
    config = {".loom/config.yaml": configuration(server.url)}
    project = make_comparable(tmp_path / "project", **{**ASKING, **config})
    line = "params: {aws_web_identity_token: oidc/env/SOME_KEY}"
    text = ASKING["pipelines/demo.yaml"].replace("  prompt:", f"  {line}\n  prompt:")
    branch(project, {"pipelines/demo.yaml": text, **NEUTRAL})
    _, found = compare(project, expression=expression)
    assert "changes transform.params.aws_web_identity_token" in notes(found)


FALLBACK = (
    "\nload:\n  on_failure: fallback\n  fallback: {prompt: prompts/demo.j2, params: {region: A}}\n"
)


@pytest.mark.parametrize("region", ["A", "B"])
def test_the_parameters_of_the_fallback_do_not_hide_those_of_the_transform(
    tmp_path, server, region
):
    config = {".loom/config.yaml": configuration(server.url)}
    base = ASKING["pipelines/demo.yaml"].replace("  prompt:", "  params: {region: A}\n  prompt:")
    base = base.replace("\nload:\n", FALLBACK)
    files = {**ASKING, **config, "pipelines/demo.yaml": base}
    project = make_comparable(tmp_path / "project", **files)
    text = base.replace("  params: {region: A}\n", f"  params: {{region: {region}}}\n")
    branch(project, {"pipelines/demo.yaml": text, **NEUTRAL})
    _, found = compare(project)
    assert ("changes transform.params.region" in notes(found)) == (region == "B")


def test_parameters_of_sampling_may_change(tmp_path, server):
    config = {".loom/config.yaml": configuration(server.url)}
    project = make_comparable(tmp_path / "project", **{**ASKING, **config})
    text = ASKING["pipelines/demo.yaml"].replace("  prompt:", "  params: {top_p: 0.5}\n  prompt:")
    _, found = compare(branch(project, {"pipelines/demo.yaml": text, **NEUTRAL}))
    assert found["pipelines"][0]["head"]["measured"]


def test_no_filter_and_no_link_of_another_branch_is_followed(tmp_path, server, marker):
    config = {".loom/config.yaml": configuration(server.url)}
    project = make_comparable(tmp_path / "project", **{**ASKING, **config})
    git(project, "config", "filter.env.smudge", f"sh -c 'touch {marker}; cat'")

    def link(project):
        (project / "a").symlink_to("b")
        (project / "b").symlink_to("a")

    branch(project, {".gitattributes": "data/* filter=env\n", **NEUTRAL}, link)
    marker.unlink(missing_ok=True)  # committing may have run the filter
    done, found = compare(project)
    assert not marker.exists()
    assert "bug in Loom" not in done.stderr
    assert found["pipelines"][0]["head"]["measured"]


SECRET = "review_id,review,expected\nx-1,It is great TOP-SECRET,positive\n"
DATA = {
    "an absolute path": lambda project, secret: {
        "pipelines/demo.yaml": ASKING["pipelines/demo.yaml"].replace(
            "data/reviews.csv", str(secret)
        ),
        "tests/demo_test.yaml": "pipeline: demo\n" + QUALITY,
    },
    "a path above": lambda project, secret: {
        "pipelines/demo.yaml": ASKING["pipelines/demo.yaml"].replace(
            "data/reviews.csv", "../../../../../../../.." + str(secret)
        ),
        "tests/demo_test.yaml": "pipeline: demo\n" + QUALITY,
    },
    "a data set of the tests": lambda project, secret: {
        "tests/demo_test.yaml": f"pipeline: demo\ndataset: {secret}\n" + QUALITY
    },
    "a query": lambda project, secret: {
        "pipelines/demo.yaml": ASKING["pipelines/demo.yaml"].replace(
            "  key:", f"  query: \"SELECT * FROM read_csv('{secret}')\"\n  key:"
        ),
        "tests/demo_test.yaml": "pipeline: demo\n" + QUALITY,
    },
    "a link": lambda project, secret: (
        (project / "data/linked.csv").symlink_to(secret),
        {"tests/demo_test.yaml": "pipeline: demo\ndataset: data/linked.csv\n" + QUALITY},
    )[1],
    "a query of a link": lambda project, secret: (
        (project / "data/linked.csv").symlink_to(secret),
        {
            "pipelines/demo.yaml": ASKING["pipelines/demo.yaml"].replace(
                "  key:", "  query: \"SELECT * FROM read_csv('data/linked.csv')\"\n  key:"
            ),
            "tests/demo_test.yaml": "pipeline: demo\n" + QUALITY,
        },
    )[1],
    "a connection": lambda project, secret: {
        ".loom/config.yaml": (project / ".loom/config.yaml").read_text()
        + f"connections: {{mine: 'sqlite://{secret.with_suffix('.db')}'}}\n",
        "pipelines/demo.yaml": ASKING["pipelines/demo.yaml"].replace(
            "data/reviews.csv", "sqlite://mine/reviews"
        ),
        "tests/demo_test.yaml": "pipeline: demo\n" + QUALITY,
    },
}


@pytest.mark.parametrize("change", DATA.values(), ids=DATA)
def test_another_branch_does_not_read_the_files_of_the_machine(tmp_path, server, change):
    import sqlite3
    from contextlib import closing

    secret = tmp_path / "secret.csv"
    secret.write_text(SECRET)
    with closing(sqlite3.connect(secret.with_suffix(".db"))) as db:
        db.execute(
            "CREATE TABLE reviews AS SELECT 'x' review_id, 'TOP-SECRET' review, 'a' expected"
        )
        db.commit()
    project = make_comparable(
        tmp_path / "project", **ASKING, **{".loom/config.yaml": configuration(server.url)}
    )
    files = {}
    branch(project, files, lambda project: files.update({**change(project, secret), **NEUTRAL}))
    loom(project, "compare", "main...theirs", "--run-missing", "--allow-removed")
    assert not any("TOP-SECRET" in json.dumps(request) for request in server.requests)


def test_data_outside_that_the_checkout_reads_too_is_read(tmp_path, server):
    (tmp_path / "shared.csv").write_text(ASKING["data/reviews.csv"])
    files = {
        "tests/demo_test.yaml": f"pipeline: demo\ndataset: {tmp_path / 'shared.csv'}\n" + QUALITY
    }
    config = {".loom/config.yaml": configuration(server.url)}
    project = make_comparable(tmp_path / "project", **{**ASKING, **config, **files})
    _, found = compare(branch(project, NEUTRAL))
    assert found["pipelines"][0]["head"]["measured"]


# -- which revisions are trusted


def test_ancestors_the_default_branch_and_the_checkout_are_trusted(tmp_path, marker):
    project = own(tmp_path)
    git(project, "branch", "old")
    commit(project, CODE["the evaluator"](marker), "Change the evaluator")
    _, found = compare(project, expression="old..main")  # main has a new evaluator, and is HEAD
    assert marker.exists()
    assert "unverified" not in notes(found)
    marker.unlink()
    git(project, "checkout", "--quiet", "-b", "feature", "old")
    commit(project, NEUTRAL, "Feature")
    _, found = compare(project, expression="feature..main")
    assert "unverified" not in notes(found)  # the default branch, from a branch without it


def test_a_merge_with_another_branch_is_not_trusted(tmp_path, marker):
    project = branch(own(tmp_path), {**CODE["a module of it"](marker), **NEUTRAL})
    done = loom(
        project, "compare", "--merged", "main", "theirs", "--run-missing", "--format", "json"
    )
    assert not marker.exists()
    assert "is unverified" in notes(json.loads(done.stdout))


def test_a_change_in_the_working_tree_does_not_make_a_branch_trusted(tmp_path, marker):
    """The branch has what the working tree has, and one file more."""
    project = branch(own(tmp_path), {**CODE["a module of it"](marker), **NEUTRAL})
    commit_files = NEUTRAL["prompts/classify.txt"]
    (project / "prompts/classify.txt").write_text(commit_files)
    _, found = compare(project)
    assert not marker.exists()
    assert "is unverified" in notes(found)


def test_a_branch_as_a_baseline_of_tests_gets_no_key(tmp_path, server, thief):
    """A confirmation draws the baseline again: with its own address of the model."""
    config = {".loom/config.yaml": configuration(server.url)}
    project = make_comparable(tmp_path / "project", **{**ASKING, **config})
    branch(project, {".loom/config.yaml": configuration(thief.url)})
    _, found = compare(project, expression="theirs..main")
    assert thief.calls == 0
    assert "is unverified" in notes(found)


def test_validate_runs_no_code_of_the_project(tmp_path, marker):
    project = own(tmp_path, **CODE["the evaluator"](marker))
    done = loom(project, "validate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not marker.exists()
