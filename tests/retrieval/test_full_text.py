import asyncio
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loomgit.errors import WorldError
from loomgit.retrieval.full_text import MAX_INDEXES, FullText, render_query

TEXTS = {
    "docs/returns.md": "# Returns\n\nReturn it within 30 days.\n\n## Gift cards\n\nNo return.",
    "docs/cafe.md": "The Café in Zürich opens at nine; l'été it stays open.",
    "docs/delivery.md": "Delivery takes two days. NEAR places take one.",
}


class Library:
    """Documents with an index of them, and how often they were read."""

    def __init__(self, folder, texts=TEXTS):
        self.texts, self.reads = texts, 0
        ids = {path: str(hash(text)) for path, text in texts.items()}
        self.index = FullText(ids, self._read, folder / "documents")
        self.index.prepare()

    def _read(self):
        self.reads += 1
        return self.texts

    def search(self, question, count=3):
        found = asyncio.run(self.index.retrieve(question, count))
        return [f"{passage.document}#{passage.number}" for passage in found]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return Library(tmp_path_factory.mktemp("library"))


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("How do I return it within the days?", "docs/returns.md#1"),
        ("gift card or GIFT cards", "docs/returns.md#2"),
        ("cafe in ZURICH", "docs/cafe.md#1"),
        ("CAFE\u0301", "docs/cafe.md#1"),
        ("what of l'ete?", "docs/cafe.md#1"),
        ("near", "docs/delivery.md#1"),
    ],
)
def test_the_passage_that_says_most_of_the_question_comes_first(library, question, first):
    assert library.search(question)[0] == first


def test_no_more_come_than_are_asked_for(library):
    assert len(library.search("return it", 1)) == 1
    assert library.search("unheard") == []


@pytest.mark.parametrize(
    "question",
    [
        *(
            "",
            "   ",
            '"',
            "a AND",
            "NEAR(",
            "-",
            "text:x",
            "* OR *",
            "^it",
            "'; DROP TABLE x",
            "\0",
        ),
        *("the of and", "日本語の質問", "\ud800", "_", "x" * 100_000, "it " * 9000),
        " ".join(map(str, range(5000))),
    ],
    ids=lambda question: ascii(question[:12]),
)
def test_no_question_is_a_fault(library, question):
    assert isinstance(library.search(question), list)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(max_size=60))
def test_any_text_is_a_question_with_the_same_answer_each_time(library, question):
    assert library.search(question) == library.search(question)


def test_what_ranks_the_same_keeps_the_documents_order(tmp_path):
    same = {f"{name}.txt": "the same words" for name in "cabd"}
    assert Library(tmp_path, same).search("same words", 4) == [f"{n}.txt#1" for n in "abcd"]


def test_words_of_a_question_are_quoted_once_each():
    assert render_query('say "AND" say') == '"say" OR "AND"'


def test_an_index_is_made_once_and_made_again_for_other_documents(tmp_path):
    first = Library(tmp_path)
    again = Library(tmp_path)
    assert (first.reads, again.reads) == (1, 0)
    assert again.search("gift") == ["docs/returns.md#2"]
    changed = Library(tmp_path, TEXTS | {"docs/delivery.md": "A gift box."})
    assert changed.reads == 1
    assert changed.search("gift")[0] == "docs/delivery.md#1"


def test_an_index_that_is_damaged_or_gone_is_made_again(tmp_path):
    library = Library(tmp_path)
    (file,) = (tmp_path / "documents").glob("*.sqlite")
    file.write_bytes(b"no database")
    assert library.search("gift") == ["docs/returns.md#2"]
    file.unlink()
    assert library.search("gift") == ["docs/returns.md#2"]
    assert library.reads == 3


def test_only_the_last_used_indexes_stay(tmp_path):
    folder = tmp_path / "documents"
    kept = Library(tmp_path)
    left = folder / ".0123.tmp"
    left.touch()
    os.utime(left, (1, 1))
    for number in range(MAX_INDEXES + 3):
        for age, file in enumerate(sorted(folder.glob("*.sqlite"), key=os.path.getmtime)):
            os.utime(file, (1000 + age, 1000 + age))
        kept.index.prepare()  # used, so it is none of the oldest
        Library(tmp_path, {"a.txt": f"text {number}"})
    assert len(list(folder.glob("*.sqlite"))) == MAX_INDEXES
    assert kept.reads == 1
    assert Library(tmp_path).reads == 0
    assert not left.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "documents").write_text("a file in its place")
    with pytest.raises(WorldError, match="the index of documents cannot be written"):
        Library(tmp_path)


def test_processes_that_build_the_same_index_do_not_disturb_each_other(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from loomgit.retrieval.full_text import FullText\n"
        "texts = {f'{n}.txt': f'word{n} of many' for n in range(2000)}\n"
        "index = FullText(dict.fromkeys(texts, 'x'), lambda: texts, Path(sys.argv[1]))\n"
        "index.prepare()\n"
        "print([p.document for p in index.search('word1234', 2)])"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert {process.communicate()[0] for process in running} == {"['1234.txt']\n"}
    assert len(list(tmp_path.iterdir())) == 1
