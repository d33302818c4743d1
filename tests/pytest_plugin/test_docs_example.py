"""The examples of docs/testing.md run as they stand there."""

import re
import shutil
from pathlib import Path

from tests.pytest_plugin.sessions import pytest_in
from tests.repos import commit, make

ROOT = Path(__file__).parents[2]


def test_the_python_example_runs_against_the_example_project(tmp_path):
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    project = make(tmp_path / "work")
    for folder in ("pipelines", "prompts", "context"):
        shutil.copytree(ROOT / folder, project / folder)
    commit(project, {"tests/test_reviews.py": example})
    pytest_in(project).expect(0, passed=2)
