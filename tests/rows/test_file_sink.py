"""Files as destinations."""

import os
import stat
import subprocess
import sys
import threading

import orjson
import pytest

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError, WorldError

OLD = [{"id": 1, "label": "good"}, {"id": 2, "label": "bad"}]
TEXTS = ("out.csv", "out.jsonl", "out.json")
FILES = ("out.csv", "out.jsonl", "out.json", "out.parquet")
SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}


def present(source, name):
    """The rows of a destination, all values as text."""
    return [{k: str(v) for k, v in row.items() if v is not None} for row in source(name).rows()]


def litter(tmp_path):
    return sorted(child.name for child in tmp_path.iterdir() if child.name != ".loom")


@pytest.mark.parametrize("name", FILES)
def test_the_same_run_twice_changes_nothing_at_all(tmp_path, put, name):
    assert put(name, OLD) == (2, 0, 0, 0)
    os.utime(tmp_path / name, (1, 1))
    before = (tmp_path / name).stat().st_ino
    assert put(name, OLD) == (0, 0, 2, 0)
    assert put(name, OLD, mode="replace") == (0, 0, 2, 0)
    assert put(name, mode="append") == (0, 0, 0, 0)
    after = (tmp_path / name).stat()
    assert (after.st_mtime, after.st_ino) == (1, before)


@pytest.mark.parametrize("name", FILES)
def test_upsert_keeps_the_order_and_puts_new_rows_last(source, put, name):
    put(name, OLD)
    assert put(name, [{"id": 3, "label": "new"}], [{"id": 1, "label": "fine"}]) == (1, 1, 0, 0)
    assert present(source, name) == [
        {"id": "1", "label": "fine"},
        {"id": "2", "label": "bad"},
        {"id": "3", "label": "new"},
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_of_a_key_that_comes_twice_the_last_row_counts(source, put, name):
    receipt = put(
        name, [{"id": 1, "label": "a"}, {"id": 1, "label": "b"}], [{"id": 1, "label": "c"}]
    )
    assert receipt == (1, 0, 0, 2)
    assert present(source, name) == [{"id": "1", "label": "c"}]


@pytest.mark.parametrize("name", FILES)
def test_append_adds_and_replace_leaves_only_the_new(source, put, name):
    put(name, OLD, mode="append")
    assert put(name, OLD[:1], mode="append") == (1, 0, 0, 0)
    assert [row["id"] for row in present(source, name)] == ["1", "2", "1"]
    assert put(name, [{"id": 9, "other": "x"}], mode="replace") == (1, 0, 0, 0)
    assert present(source, name) == [{"id": "9", "other": "x"}]


@pytest.mark.parametrize("name", FILES)
def test_replacing_with_nothing_leaves_a_file_that_can_be_read(source, put, name):
    put(name, OLD)
    put(name, mode="replace", schema=SCHEMA)
    assert present(source, name) == []


@pytest.mark.parametrize("name", TEXTS)
def test_fields_that_a_row_lacks_stay_as_they_are(source, put, name):
    put(name, [{"id": 1, "label": "good", "checked": "yes"}])
    assert put(name, [{"id": 1, "label": "bad"}]) == (0, 1, 0, 0)
    assert present(source, name) == [{"id": "1", "label": "bad", "checked": "yes"}]


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_visible_before_commit_and_nothing_stays_after_abort(tmp_path, sink, name):
    opened = sink(f"deep/er/{name}")
    opened.check()
    opened.load(0, OLD)
    assert litter(tmp_path) == []
    opened.abort()
    assert litter(tmp_path) == []
    assert list((tmp_path / ".loom" / "state" / "run-1").iterdir()) == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_folder_that_is_missing_is_made_and_holds_the_file_alone(tmp_path, put, name):
    put(f"deep/er/{name}", OLD)
    assert [child.name for child in (tmp_path / "deep" / "er").iterdir()] == [name]


@pytest.mark.parametrize("name", TEXTS)
def test_a_run_that_died_goes_on_and_takes_each_part_once(source, sink, name):
    sink(name, "append").load(0, OLD)  # and then the process is gone
    again = sink(name, "append")
    again.load(0, OLD)
    again.load(1, [{"id": 3, "label": "x"}])
    receipt = again.commit()
    assert receipt.inserted == 3
    late = sink(name, "append")
    late.load(0, OLD)
    late.load(2, [{"id": 4, "label": "x"}])
    assert late.commit().inserted == 4
    late.abort()
    assert [row["id"] for row in present(source, name)] == ["1", "2", "3", "4"]


CRASH = """
import os, sys
from pathlib import Path
from loomgit.domain.definitions import Load
from loomgit.rows import file_sink
from loomgit.rows.sinks import open_sink

root, renames = Path(sys.argv[1]), sys.argv[2] == "True"
rename = file_sink.FileSink._replace

def crash(self):
    if renames:
        rename(self)
    os._exit(9)

file_sink.FileSink._replace = crash
stage = root / ".loom" / "state" / "killed"
sink = open_sink(Load("out.jsonl", mode="append"), key=(), root=root, stage=stage, run="killed")
sink.load(0, [{"id": 1, "label": "a"}, {"id": 2, "label": "b"}])
sink.commit()
"""


def crash_while_publishing(tmp_path, *, renamed):
    """Kill a process that appends to out.jsonl just after or before it replaces the file."""
    command = [sys.executable, "-c", CRASH, str(tmp_path), str(renamed)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9


@pytest.mark.parametrize("renamed", [True, False])
@pytest.mark.parametrize("another_run_writes", [False, True])
@pytest.mark.parametrize("edit", [None, "append", "remove"])
def test_a_crash_while_the_file_is_replaced_appends_each_row_once(
    tmp_path, source, sink, put, renamed, another_run_writes, edit
):
    path = tmp_path / "out.jsonl"
    path.write_text('{"id": 5, "label": "earlier"}\n{"id": 6, "label": "earlier"}\n')
    crash_while_publishing(tmp_path, renamed=renamed)
    expected = ["1", "2", "3", "5", "6"]
    if edit == "append":
        path.write_text(path.read_text() + '{"id": 7, "label": "edited"}\n')
        expected.append("7")
    elif edit == "remove":
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
        expected.remove("5")
    if another_run_writes:
        put("out.jsonl", [{"id": 9, "label": "other"}], mode="append")
        expected.append("9")
    again = sink("out.jsonl", "append", run="killed")
    again.load(0, OLD)
    again.load(1, [{"id": 3, "label": "x"}])
    assert again.commit() == LoadReceipt(inserted=3)
    assert sorted(row["id"] for row in present(source, "out.jsonl")) == expected
    assert litter(tmp_path) == ["out.jsonl"]


def test_a_run_that_ends_before_it_writes_keeps_the_evidence_of_a_crash(tmp_path, source, sink):
    path = tmp_path / "out.jsonl"
    path.write_text('{"id": 5, "label": "earlier"}\n')
    crash_while_publishing(tmp_path, renamed=False)
    path.write_text(path.read_text() + '{"id": 7, "label": "edited"}\n')
    other = sink("out.jsonl", "append", run="other")
    other.load(0, [{"id": 9, "label": "other"}])
    other.abort()  # removes the temporary file of the killed run
    again = sink("out.jsonl", "append", run="killed")
    again.load(0, OLD)
    assert again.commit() == LoadReceipt(inserted=2)
    assert [row["id"] for row in present(source, "out.jsonl")] == ["5", "7", "1", "2"]


def test_a_crash_after_the_publication_is_settled_leaves_no_entry(tmp_path, sink):
    crash_while_publishing(tmp_path, renamed=True)
    killed = sink("out.jsonl", "append", run="killed")
    killed._stage.settle(published=True)
    killed._stage.close()
    again = sink("out.jsonl", "append", run="killed")
    again.load(0, OLD)
    assert again.commit() == LoadReceipt(inserted=2)
    assert litter(tmp_path) == ["out.jsonl"]


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("out.csv", b"id,label\n1,a,b\n", "out.csv:2: 3 fields"),
        ("out.csv", b"id,label\n1,caf\xe9\n", "out.csv:2: byte 6"),
        ("out.jsonl", b'{"id": 1}\n{"id": \n', "out.jsonl:2:"),
        ("out.json", b'{"id": 1}', "out.json: expected an array of objects, found an object"),
        ("out.json", b"[1]", "out.json: item 1 is a number"),
        ("out.parquet", b"PAR1 or not", "out.parquet: "),
    ],
)
@pytest.mark.parametrize("mode", ["upsert", "append"])
def test_a_file_that_is_not_of_its_format_is_never_overwritten(
    tmp_path, put, name, raw, message, mode
):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises((UserError, WorldError)) as caught:
        put(name, OLD, mode=mode)
    assert caught.value.message.startswith(message)
    assert (tmp_path / name).read_bytes() == raw
    assert litter(tmp_path) == [name]


def test_an_empty_file_is_as_good_as_none(tmp_path, source, put):
    for name in TEXTS:
        (tmp_path / name).touch()
        assert put(name, OLD) == (2, 0, 0, 0)
        assert len(present(source, name)) == 2


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_column_that_the_file_lacks_is_named_before_anything_is_loaded(tmp_path, sink, put, name):
    put(name, OLD)
    schema = {"properties": {"label": {"type": "string"}, "labels": {"type": "string"}}}
    with pytest.raises(UserError, match=f"{name}: has no column 'labels'") as caught:
        sink(name, schema=schema).check()
    assert caught.value.hint == "did you mean 'label'? `load.evolve: add` adds the column"
    with pytest.raises(UserError, match="has no column 'why'"):
        sink(name).load(0, [{"id": 1, "why": "x"}])
    sink(name, schema=SCHEMA).check()


def test_rows_of_a_csv_file_that_do_not_change_keep_their_bytes(tmp_path, put):
    raw = b'\xef\xbb\xbf"id",label\r\n"1","a ""b"""\r\n2,bad\r\n,no key'
    (tmp_path / "out.csv").write_bytes(raw)
    put("out.csv", [{"id": 2, "label": "x,y"}, {"id": 3, "label": None}])
    expected = raw.replace(b"2,bad", b'2,"x,y"') + b"\r\n3,\r\n"
    assert (tmp_path / "out.csv").read_bytes() == expected


def test_lines_of_a_json_lines_file_that_do_not_change_keep_their_bytes(tmp_path, put):
    (tmp_path / "out.jsonl").write_bytes(b'{"id": 1.0,   "n": [1]}\n{"id":2}\n{"other": 1}')
    put("out.jsonl", [{"id": 1, "n": [1.0]}, {"id": 2, "n": {"a": None}}])
    assert (tmp_path / "out.jsonl").read_bytes() == (
        b'{"id": 1.0,   "n": [1]}\n{"id":2,"n":{"a":null}}\n{"other": 1}\n'
    )


def test_values_have_their_forms_in_csv(tmp_path, put):
    put("out.csv", [{"id": "a", "n": 1.5, "b": True, "o": {"x": [1]}, "none": None, "t": "1\r2"}])
    assert (tmp_path / "out.csv").read_bytes() == (
        b'id,n,b,o,none,t\na,1.5,true,"{""x"":[1]}",,"1\r2"\n'
    )


def test_nested_values_stay_as_they_are_in_json(tmp_path, put):
    rows = [{"id": "é", "o": {"x": [1, None]}}, {"id": 2}]
    put("out.json", rows)
    assert orjson.loads((tmp_path / "out.json").read_bytes()) == rows
    assert (tmp_path / "out.json").read_text("utf-8").count("\n") == 4


def test_a_composite_key_matches_across_types(source, put):
    put("out.csv", [{"a": 1, "b": "x", "v": 1}], key=("a", "b"))
    assert put("out.csv", [{"a": "1", "b": "x", "v": 2}], key=("a", "b")) == (0, 1, 0, 0)


def test_a_row_without_its_key_is_refused(sink):
    with pytest.raises(UserError, match="has no value in its key field 'id'"):
        sink("out.csv").load(0, [{"label": "x"}])


def test_without_a_key_the_hash_is_the_key(sink, source):
    opened = sink("out.jsonl", key=("_loom_record_key",))
    opened.load(0, [{"_loom_record_key": "abc", "v": 1}, {"_loom_record_key": "abc", "v": 2}])
    assert opened.commit().duplicates == 1


def test_a_symbolic_link_stays_one_and_its_target_is_replaced(tmp_path, put):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.csv").write_text("id,label\n9,x\n")
    (tmp_path / "out.csv").symlink_to("real/a.csv")
    put("out.csv", OLD)
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "real" / "a.csv").read_text() == "id,label\n9,x\n1,good\n2,bad\n"
    assert [child.name for child in (tmp_path / "real").iterdir()] == ["a.csv"]


def test_the_files_mode_is_kept_and_that_of_a_new_one_is_the_usual(tmp_path, put):
    (tmp_path / "plain").touch()
    put("out.csv", OLD)
    usual = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == usual
    (tmp_path / "out.csv").chmod(0o640)
    put("out.csv", [{"id": 7, "label": "x"}])
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


def test_two_runs_at_once_lose_nothing(source, sink):
    runs = [sink("out.jsonl", run=f"run-{n}") for n in range(6)]
    for n, run in enumerate(runs):
        run.load(0, [{"id": n}, {"id": 99, "by": n}])
    threads = [threading.Thread(target=run.commit) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row["id"] for row in source("out.jsonl").rows()) == [0, 1, 2, 3, 4, 5, 99]


def test_a_place_that_cannot_be_written_is_said_by_check(tmp_path, sink):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder\.csv: is a folder"):
        sink("folder.csv").check()
    (tmp_path / "file").touch()
    with pytest.raises((UserError, WorldError), match=r"file/out\.csv"):
        sink("file/out.csv").check()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said_by_check(tmp_path, sink):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(WorldError, match="read-only"):
        sink("locked/out.csv").check()


def test_a_disk_that_refuses_is_no_traceback(sink):
    opened = sink("/proc/out.csv")
    opened.load(0, OLD)
    with pytest.raises(WorldError, match=r"/proc/out\.csv: "):
        opened.commit()
    opened.abort()


def test_a_csv_file_refuses_a_nul_and_json_files_do_not(sink):
    row = {"id": "1", "text": "b\0c"}
    assert (
        sink("out.csv").refusal(row)
        == "column 'text': a NUL character, which a CSV file cannot hold"
    )
    assert sink("out.csv").refusal({"id": "1", "a\0b": 1})
    assert sink("out.jsonl").refusal(row) == sink("out.json").refusal(row) == ""


@pytest.mark.parametrize("mode", ["upsert", "append"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out.jsonl", "not json\n"),
        ("out.jsonl", '{"id":1e400}\n'),
        ("out.jsonl", '{"id":1,"id":2}\n'),
        ("out.json", '{"id":1}'),
        ("out.json", "[1]"),
        ("out.csv", "id,text\n1,a\n2\n"),
    ],
)
def test_a_file_that_cannot_be_merged_is_found_by_check(tmp_path, sink, mode, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        sink(name, mode).check()
    sink(name, "replace").check()


@pytest.mark.parametrize("url", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("key", [7.0, 1e22, 2**63, -0.0, "7.0", True])
def test_a_key_is_found_again(put, url, key):
    assert put(url, [{"id": key, "v": "a"}]) == (1, 0, 0, 0)
    assert put(url, [{"id": key, "v": "b"}]) == (0, 1, 0, 0)


@pytest.mark.parametrize("url", ["out.csv", "out.parquet"])
def test_a_row_with_a_column_that_the_file_lacks_is_refused(put, sink, url):
    put(url, [{"id": "1", "v": "a"}])
    assert sink(url).refusal({"id": "2", "n": 1}) == "the file has no column 'n'"
    assert sink(url, "replace").refusal({"id": "2", "n": 1}) == ""


def test_a_csv_file_without_rows_has_the_columns_of_the_rows_to_expect(source, sink, put):
    name = "out.csv"
    examples = [{"id": 1, "label": "x", "included": "y"}]
    opened = sink(name, "append", examples=examples, schema=SCHEMA)
    opened.commit()
    assert present(source, name) == []
    assert put(name, examples, mode="append", schema=SCHEMA) == (1, 0, 0, 0)
    assert present(source, name) == [{"id": "1", "label": "x", "included": "y"}]
