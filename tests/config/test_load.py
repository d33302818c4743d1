"""Files -> definitions: paths as users name them, and files that are not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.config.load import load_pipeline, load_settings, load_suite
from loomgit.domain.settings import Settings
from loomgit.errors import ProblemsFound, UserError

PIPELINE = "name: faq\nextract: {source: a}\ntransform: {prompt: p}\nload: {destination: b}\n"
SUITE = "pipeline: faq\nunit_tests:\n  - {name: a, input: {q: x}}\n"


@pytest.fixture
def project(tmp_path):
    for name, text in {"pipelines/faq.yaml": PIPELINE, "tests/faq_test.yaml": SUITE}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("absolute", [True, False])
def test_a_path_is_shown_relative_to_the_project(project, absolute):
    start = project if absolute else Path()
    pipeline = load_pipeline(start / "pipelines/faq.yaml", project)
    suite = load_suite(start / "tests/faq_test.yaml", project)
    assert pipeline.path == "pipelines/faq.yaml"
    assert suite.path == "tests/faq_test.yaml"
    assert str(suite.unit_tests[0].place) == "tests/faq_test.yaml:3:5"


def test_a_file_outside_the_project_keeps_its_path(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.yaml"
    elsewhere.write_text(PIPELINE, encoding="utf-8")
    assert load_pipeline(elsewhere, project).path == elsewhere.as_posix()


def test_plugins_evaluators_reach_the_parser(project):
    path = project / "pipelines/faq.yaml"
    path.write_text(PIPELINE + "evaluate: [politeness]\n", encoding="utf-8")
    with pytest.raises(ProblemsFound, match="unknown evaluator 'politeness'"):
        load_pipeline(path, project)
    found = load_pipeline(path, project, known_evaluators={"politeness"})
    assert found.evaluate.evaluators[0].type == "politeness"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pipelines/none.yaml", "pipelines/none.yaml: no such file"),
        ("pipelines/faq.yaml/x", "pipelines/faq.yaml/x: no such file"),
        ("pipelines", "pipelines: a directory, not a file"),
    ],
)
def test_what_is_no_file_is_named(project, path, message):
    with pytest.raises(UserError) as caught:
        load_pipeline(Path(path), project)
    assert caught.value.message == message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_a_file_that_may_not_be_read_is_named(project):
    (project / "pipelines/faq.yaml").chmod(0)
    with pytest.raises(UserError, match=r"pipelines/faq\.yaml: no permission to read it"):
        load_pipeline(Path("pipelines/faq.yaml"), project)


def test_bytes_that_are_no_text_are_found(project):
    (project / "pipelines/faq.yaml").write_bytes(b"name: faq\ndescription: \xe4\n")
    with pytest.raises(ProblemsFound, match=r"pipelines/faq\.yaml:2:14: not UTF-8: byte 0xe4"):
        load_pipeline(Path("pipelines/faq.yaml"), project)


def test_a_project_without_configuration_has_the_defaults(tmp_path):
    assert load_settings(tmp_path) == Settings()


def test_the_configuration_is_in_the_loom_folder(tmp_path):
    (tmp_path / ".loom").mkdir()
    (tmp_path / ".loom/config.yaml").write_text("baseline: trunk\n", encoding="utf-8")
    assert load_settings(tmp_path).baseline == "trunk"
    (tmp_path / ".loom/config.yaml").write_text("baseline: [a]\n", encoding="utf-8")
    with pytest.raises(ProblemsFound, match=r"^\.loom/config\.yaml:1:1: baseline: expected text"):
        load_settings(tmp_path)


def test_reading_a_file_loads_neither_plugins_of_pydantic_nor_what_is_slow(project):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from loomgit.config.load import load_pipeline\n"
        "load_pipeline(Path('pipelines/faq.yaml'), Path())\n"
        "slow = {'logfire', 'litellm', 'arbiter_ai', 'jsonschema_rs', 'scipy', 'duckdb'}\n"
        "print(sorted(slow & set(sys.modules)), os.environ.get('PYDANTIC_DISABLE_PLUGINS'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project,
        env={n: v for n, v in os.environ.items() if n != "PYDANTIC_DISABLE_PLUGINS"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[] None"
