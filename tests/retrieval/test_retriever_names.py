import asyncio

import pytest

from loomgit.domain.passages import Passage
from loomgit.errors import UserError, WorldError
from loomgit.retrieval.registry import check_name, open_retriever

PACKAGE = """\
from loomgit.domain.passages import Passage

class First:
    def __init__(self, texts):
        self.texts = texts

    async def retrieve(self, question, count):
        if question == "what?":
            raise KeyError("what?")
        if question == "text":
            return ["text"]
        return [Passage(path, 1, text) for path, text in self.texts.items()]

def broken(texts):
    raise OSError("no such model")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "loom_first-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: loom-first\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[loomgit.retrievers]\nfirst = loom_first:First\nbroken = loom_first:broken\n"
    )
    (tmp_path / "loom_first.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def opened(folder, name):
    texts = {"a.md": "one", "b.md": "two"}
    return open_retriever(name, dict.fromkeys(texts, "x"), lambda: texts, folder / "index")


def ask(retriever, question, count=1):
    return asyncio.run(retriever.retrieve(question, count))


@pytest.mark.parametrize("name", ["first", "full_text"])
def test_retrievers_of_loom_and_of_packages_are_asked_alike(package, name):
    check_name(name)
    assert ask(opened(package, name), "one") == [Passage("a.md", 1, "one")]


def test_an_unknown_name_is_told_with_the_nearest(package):
    with pytest.raises(UserError, match="unknown retriever 'firts'") as caught:
        check_name("firts")
    assert caught.value.hint == "did you mean 'first'?"


def test_a_package_that_fails_is_told_in_a_line(package):
    with pytest.raises(UserError, match="retriever 'broken': OSError: no such model"):
        opened(package, "broken")
    retriever = opened(package, "first")
    with pytest.raises(WorldError, match=r"retriever 'first': KeyError: 'what\?'"):
        ask(retriever, "what?")
    with pytest.raises(WorldError, match="returned an object that is not a Passage"):
        ask(retriever, "text")
