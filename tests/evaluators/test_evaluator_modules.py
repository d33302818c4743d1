"""Python evaluators of two trees in one process: each uses the modules of its own tree."""

import asyncio
import sys

import pytest
import yaml  # noqa: F401  # loaded before the tests

from loomgit.domain.records import EvaluationInput
from loomgit.errors import UserError
from loomgit.evaluators.user_defined import load_function
from tests.repos import write

OWN = "from checks.rules import value\n\n\ndef score(output, record):\n    return value()\n"
SCORE = "def score(output, record):\n    return float(hasattr(yaml, 'safe_load'))\n"


def tree(folder, value, **more):
    write(folder, {"checks/own.py": OWN, **more})
    write(folder, {"checks/rules.py": f"def value():\n    return {value}\n"})
    return folder


def ask(root):
    evaluator = load_function("checks/own.py:score", root)
    return asyncio.run(evaluator.score(EvaluationInput({}, {}))).value


def test_each_tree_has_its_own_modules(tmp_path):
    one, two = tree(tmp_path / "one", 0.25), tree(tmp_path / "two", 0.75)
    assert [ask(one), ask(two), ask(one)] == [0.25, 0.75, 0.25]


def test_packages_too(tmp_path):
    package = {"checks/__init__.py": ""}
    one, two = tree(tmp_path / "one", 0.25, **package), tree(tmp_path / "two", 0.75, **package)
    assert [ask(one), ask(two)] == [0.25, 0.75]


def test_a_package_gives_way_to_a_folder_without_an_init_file(tmp_path):
    one = tree(tmp_path / "one", 0.25, **{"checks/__init__.py": ""})
    two = tree(tmp_path / "two", 0.75)
    assert [ask(one), ask(two), ask(one)] == [0.25, 0.75, 0.25]


def test_a_module_that_only_another_tree_has_is_not_found(tmp_path):
    one, two = tree(tmp_path / "one", 0.25), tree(tmp_path / "two", 0.75)
    assert ask(one) == 0.25
    (two / "checks/rules.py").unlink()
    with pytest.raises(UserError, match="No module named 'checks.rules'"):
        ask(two)


def test_a_folder_with_the_name_of_an_installed_package_does_not_hide_it(tmp_path):
    write(tmp_path, {"yaml/notes.txt": "no module", "own.py": "import yaml\n\n" + SCORE})
    loaded = sys.modules["yaml"]
    evaluator = load_function("own.py:score", tmp_path)
    assert asyncio.run(evaluator.score(EvaluationInput({}, {}))).value == 1.0
    assert sys.modules["yaml"] is loaded


def test_what_was_loaded_before_is_there_afterwards(tmp_path, monkeypatch):
    elsewhere = tree(tmp_path / "elsewhere", 0.5)
    monkeypatch.syspath_prepend(str(elsewhere))
    import checks.rules

    before = sys.modules["checks.rules"]
    assert ask(tree(tmp_path / "one", 0.25)) == 0.25
    assert sys.modules["checks.rules"] is before is checks.rules
    monkeypatch.delitem(sys.modules, "checks.rules")
    monkeypatch.delitem(sys.modules, "checks")
