"""A project's files as text: paths as users name them, and files that are not there."""

import os
from pathlib import Path

import pytest

from loomgit.config.project_files import find_pipeline, read
from loomgit.errors import ProblemsFound, UserError


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/faq.yaml").write_text("name: faq\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("absolute", [True, False])
def test_a_path_is_shown_relative_to_the_project(project, absolute):
    start = project if absolute else Path()
    assert read(start / "pipelines/faq.yaml", project) == ("name: faq\n", "pipelines/faq.yaml")


def test_a_file_outside_the_project_keeps_its_path(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.yaml"
    elsewhere.write_text("name: x\n", encoding="utf-8")
    assert read(elsewhere, project)[1] == elsewhere.as_posix()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pipelines/none.yaml", "pipelines/none.yaml: no such file"),
        ("pipelines/faq.yaml/x", "pipelines/faq.yaml/x: no such file"),
        ("pipelines", "pipelines: is a directory, not a file"),
    ],
)
def test_what_is_no_file_is_named(project, path, message):
    with pytest.raises(UserError) as caught:
        read(Path(path), project)
    assert caught.value.message == message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_a_file_that_may_not_be_read_is_named(project):
    (project / "pipelines/faq.yaml").chmod(0)
    with pytest.raises(UserError, match=r"pipelines/faq\.yaml: no permission to read it"):
        read(Path("pipelines/faq.yaml"), project)


def test_bytes_that_are_no_text_are_found(project):
    (project / "pipelines/faq.yaml").write_bytes(b"name: faq\ndescription: \xe4\n")
    with pytest.raises(ProblemsFound, match=r"pipelines/faq\.yaml:2:14: not UTF-8: byte 0xe4"):
        read(Path("pipelines/faq.yaml"), project)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pipeline: faq\nunit_tests: [", "faq"),
        ('# faq\npipeline:   "faq-2" # the old one\n: {', "faq-2"),
        ("pipeline: 'faq'\n", "faq"),
        ("unit_tests:\n  - pipeline: faq\n", ""),
        ("pipelines: faq\n", ""),
        ("pipeline:\n  faq\n", ""),
        ("{pipeline: faq", ""),
        ("", ""),
    ],
)
def test_a_broken_test_file_still_says_which_pipeline_it_is_about(text, name):
    assert find_pipeline(text) == name
