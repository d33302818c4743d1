"""Which files of a project a Python evaluator consists of, in the working tree and at a commit."""

import pytest

from loomgit.history.repository import Repository
from loomgit.history.trees import INDEX, Tree
from loomgit.wiring.evaluator_code import find_code
from tests.repos import commit, make

FILES = {
    "checks/own.py": "import os\nimport checks.rules as r\nfrom . import near\n",
    "checks/rules.py": "from checks.deep import words, absent\nimport src_module\n",
    "checks/deep/__init__.py": "",
    "checks/deep/words.py": "TEXT = open('checks/words.txt')\n",
    "checks/words.txt": "good\n",
    "checks/near.py": "",
    "checks/other.py": "",
    "src/src_module.py": "def f():\n    import lazily\n",
    "lazily.py": "",
    "os.py": "",
}


def found(tmp_path, files, type_="checks/own.py:score"):
    folder = make(tmp_path / "project")
    id_ = commit(folder, files)
    repository = Repository.open(folder)
    trees = [Tree(repository, revision) for revision in (None, INDEX, id_)]
    now, *others = [find_code(tree, [type_, "exact_match"]) for tree in trees]
    assert all(other == now for other in others)
    return set(now)


def test_modules_are_followed_and_files_that_are_named_are_in_it(tmp_path):
    assert found(tmp_path, FILES) == FILES.keys() - {"checks/other.py"}


@pytest.mark.parametrize(
    "text",
    [
        "Path(__file__).parent / 'lists' / 'a.txt'",
        "Path(__file__).with_name('lists/a.txt')",
        "Path('checks', 'lists', 'a.txt')",
        "os.path.join('checks', 'lists', 'a.txt')",
        "open('checks/lists/a.txt')",
        "Path('checks') / 'lists/a.txt'",
    ],
)
def test_the_name_of_a_file_may_be_written_in_parts(tmp_path, text):
    files = {"checks/own.py": f"x = {text}\n", "checks/lists/a.txt": "", "checks/lists/b.txt": ""}
    assert found(tmp_path, files) == {"checks/own.py", "checks/lists/a.txt"}


@pytest.mark.parametrize(
    "text",
    ["importlib.import_module('checks.rules')", "__import__('checks.rules')",
     "from checks import rules", "from checks.rules import *", "import checks.rules"],
)  # fmt: skip
def test_modules_by_whatever_statement(tmp_path, text):
    files = {"checks/own.py": f"{text}\n", "checks/rules.py": ""}
    assert found(tmp_path, files) == files.keys()


@pytest.mark.parametrize(
    "content", ["def (", "# \0", b"\xff\xfe", "x = '../../etc/passwd'\ny = '/etc/passwd'\nz = '.'"]
)
def test_what_cannot_be_read_or_lies_outside_adds_nothing(tmp_path, content):
    assert found(tmp_path, {"checks/own.py": content}) == {"checks/own.py"}


def test_modules_may_import_one_another(tmp_path):
    files = {"checks/own.py": "import checks.a\n", "checks/a.py": "import checks.own\n"}
    assert found(tmp_path, files) == files.keys()


def test_other_types_have_no_code(tmp_path):
    assert found(tmp_path, FILES, "json_schema") == set()
