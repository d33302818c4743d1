"""Another project's package `loomgit` beside Loom: both own the folder `loomgit`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import loomgit_command
from tests.pytest_plugin.sessions import command, environment


def run(folder, site, *words):
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    (folder / "loomgit-0.1.8.dist-info").mkdir(parents=True)
    (folder / "loomgit").mkdir()
    return folder


def test_the_command_reports_it_in_one_line(tmp_path, site):
    done = run(tmp_path, site, sys.executable, "-m", "loomgit_command", "--version")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the package loomgit 0.1.8 in {site} ")


def test_the_command_reports_it_even_if_the_other_package_replaced_its_files(tmp_path, site):
    (site / "loomgit/__init__.py").write_text("raise SystemExit('the other project ran')\n")
    done = run(tmp_path, site, sys.executable, "-m", "loomgit_command", "run", "x")
    assert done.returncode == 2
    assert "the package loomgit 0.1.8" in done.stderr
    assert "the other project ran" not in done.stderr


def test_pytest_reports_it_only_with_prompt_tests(tmp_path, site):
    done = run(tmp_path, site, *command())
    assert done.returncode == 4
    assert "the package loomgit 0.1.8" in done.stderr
    plain = [word for word in command() if word != "--loom"]
    assert run(tmp_path, site, *plain).returncode == 5


@pytest.mark.parametrize(
    ("name", "is_found"),
    [
        ("loomgit-0.1.8.dist-info", True),
        ("loomgit-1.0-py3.12.egg-info", True),
        ("loom_aietl-0.1.0.dist-info", False),
        ("loomgit_extras-1.0.dist-info", False),
        ("loomgit", False),
    ],
)
def test_only_that_package_is_a_conflict(tmp_path, monkeypatch, name, is_found):
    (tmp_path / "loomgit").mkdir()
    (tmp_path / name).mkdir(exist_ok=True)
    monkeypatch.setattr(sys, "path", [b"odd", str(tmp_path / "missing"), str(tmp_path)])
    assert (loomgit_command.find_conflict() is not None) == is_found


def test_a_package_behind_loom_on_the_path_replaces_nothing(site, monkeypatch):
    own = str(Path(loomgit_command.__file__).parent)
    monkeypatch.setattr(sys, "path", [own, str(site)])
    assert loomgit_command.find_conflict() is None
    monkeypatch.setattr(sys, "path", [str(site), own])
    assert loomgit_command.find_conflict() is not None


def test_a_folder_without_the_package_is_no_conflict(tmp_path, monkeypatch):
    (tmp_path / "loomgit-1.0.egg-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert loomgit_command.find_conflict() is None


def test_missing_files_of_loom_are_reported_in_one_line(tmp_path, site):
    """What is left when only the other package was uninstalled."""
    (site / "loomgit-0.1.8.dist-info").rmdir()
    (site / "loomgit/__init__.py").touch()
    done = run(tmp_path, site, sys.executable, "-P", "-m", "loomgit_command", "--version")
    assert done.returncode == 2
    assert done.stderr == "error: No module named 'loomgit.cli': install loom-aietl again\n"
