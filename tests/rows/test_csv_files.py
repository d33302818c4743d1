"""CSV files as sources."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.errors import UserError
from loomgit.rows.csv_files import CsvFile, CsvWriter


def read(tmp_path, raw, source):
    (tmp_path / "a.csv").write_bytes(raw)
    return list(source("a.csv").rows())


@pytest.mark.parametrize(
    ("raw", "rows"),
    [
        (b"id,text\n1,good\n", [{"id": "1", "text": "good"}]),
        (b"\xef\xbb\xbfid\n1\n", [{"id": "1"}]),
        (b"id,text\r\n1,a\r\n2,b", [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]),
        (b'id,t\n1,"two\nlines, ""q"""\n', [{"id": "1", "t": 'two\nlines, "q"'}]),
        (b"id,t\n1,\n", [{"id": "1", "t": ""}]),
        (b"id\n\n1\n\n", [{"id": "1"}]),
        (b"id,text\n", []),
        (b"caf\xc3\xa9\n\xe6\x97\xa5\n", [{"café": "日"}]),
    ],
)
def test_rows_are_text_by_name(tmp_path, source, raw, rows):
    assert read(tmp_path, raw, source) == rows


@pytest.mark.parametrize(
    ("raw", "message", "hint"),
    [
        (b"", "a.csv: is empty", "the column names"),
        (b"\n\n", "a.csv: is empty", "the column names"),
        (b"id,t\n1,a\n2,b,c\n", "a.csv:3: 3 fields, but the first line has 2", "quotes"),
        (b'id,t\n1,"a\nb"\n2\n', "a.csv:4: 1 field, but the first line has 2", ""),
        (b"id,t,id\n", "a.csv:1: two columns are named 'id'", "rename"),
        (b",t\n0,a\n", "a.csv:1: column 1 has no name", "index=False"),
        (b"id\n1\n\0\n", "a.csv:3: the line contains a NUL byte", "UTF-16"),
        ("id\n1\n".encode("utf-16"), "a.csv:1: byte 1 of the line (0xff) is not UTF-8", "UTF-8"),
        (b"id,t\n1,caf\xe9\n", "a.csv:2: byte 6 of the line (0xe9) is not UTF-8", "Latin-1"),
        (b'id,t\n1,a\n2,"b\n3,c\n', "a.csv:3: a quote is not closed", ""),
        (b'id,t\n1,"a"b\n', "a.csv:2: ',' expected after '\"'", "twice"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(tmp_path, source, raw, message, hint):
    with pytest.raises(UserError) as caught:
        read(tmp_path, raw, source)
    assert caught.value.message == message
    assert hint in (caught.value.hint or "")


def test_a_field_of_a_megabyte_is_read(tmp_path, source):
    assert len(read(tmp_path, b"t\n" + b"x" * 2**20, source)[0]["t"]) == 2**20


def test_check_finds_a_key_that_is_no_column(tmp_path, source):
    (tmp_path / "a.csv").write_text("review_id,text\n")
    source("a.csv", key=("review_id",)).check()
    with pytest.raises(UserError, match=r"a\.csv:1: no column 'reviewid'") as caught:
        source("a.csv", key=("reviewid",)).check()
    assert caught.value.hint == "did you mean 'review_id'?"


cells = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(cells, cells), max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read_back_and_the_bytes_of_every_row_are_known(
    tmp_path_factory, rows, end
):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    writer = CsvWriter(("a", "b"), end, "a.csv")
    lines = [writer.line({"b": b, "a": a}) for a, b in rows]
    path.write_bytes(writer.header() + b"".join(lines))
    records = list(CsvFile(path, "a.csv").records())
    assert [tuple(record.fields) for record in records] == [("a", "b"), *rows]
    assert [record.raw.encode() for record in records[1:]] == lines


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(cells, cells), max_size=5))
def test_what_the_csv_module_reads_is_what_was_written(rows):
    writer = CsvWriter(("a", "b"), "\n", "a.csv")
    text = b"".join(writer.line({"a": a, "b": b}) for a, b in rows).decode()
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == rows


def test_a_nul_is_refused_before_it_spoils_the_file():
    with pytest.raises(UserError, match="NUL"):
        CsvWriter(("a",), "\n", "a.csv").line({"a": "x\0"})
