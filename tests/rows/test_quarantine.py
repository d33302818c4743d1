"""The quarantine as a JSON lines file."""

import threading
from pathlib import Path

import orjson
import pytest

from loomgit.domain.quarantine import QuarantineEntry, Resolution, newest_of_each_record
from loomgit.errors import WorldError
from loomgit.rows.quarantine import QuarantineFile


def entry(key, reason="low", pipeline="faq", **values):
    defaults = {
        "run_id": "r1",
        "stage": "gate",
        "at": "2026-03-04T05:06:07Z",
        "record": {"id": key, "text": "é\n"},
    }
    return QuarantineEntry(pipeline=pipeline, record_key=key, reason=reason, **(defaults | values))


def resolution(key, pipeline="faq", by="r2"):
    return Resolution(pipeline, key, "2026-03-05T00:00:00Z", by, "loaded")


def current(store, pipeline="faq"):
    """The key and the reason of each open record, newest first."""
    entries = newest_of_each_record(store.entries(pipeline, only_open=True))
    return [(each.record_key, each.reason) for each in entries]


def test_an_entry_is_read_as_it_was_written(tmp_path):
    whole = entry("a", scores={"factuality": 0.4, "broken": None}, error="no reply")
    path = tmp_path / "deep" / "faq.jsonl"
    with QuarantineFile(path) as quarantine:
        quarantine.add([whole])
    assert list(QuarantineFile(path).entries("faq")) == [whole]
    line = orjson.loads(path.read_bytes())
    assert list(line) == [
        "run_id", "pipeline", "record_key", "stage", "reason", "scores", "reasons",
        "error", "output",
        "record", "at",
    ]  # fmt: skip


def test_the_newest_entry_of_a_record_comes_first(tmp_path):
    path = tmp_path / "q.jsonl"
    with QuarantineFile(path) as quarantine:
        quarantine.add(
            [entry("a", "1"), entry("b", "2"), entry("a", "3"), entry("a", "4", "other")]
        )
        assert current(quarantine) == [("a", "3"), ("b", "2")]
        assert current(quarantine, "other") == [("a", "4")]
        assert [each.reason for each in quarantine.entries("faq")] == ["3", "2", "1"]
        assert quarantine.open_keys("faq") == {"a", "b"}
        assert quarantine.damaged == 0


def test_a_resolution_ends_the_entries_above_it_and_no_others(tmp_path):
    path = tmp_path / "q.jsonl"
    with QuarantineFile(path) as quarantine:
        quarantine.add(
            [entry("a", "1"), entry("a", "2"), entry("b", "3"), entry("a", "4", "other")]
        )
        size = path.stat().st_size
        before = path.read_bytes()
        quarantine.resolve([resolution("a"), resolution("unknown")])
        assert path.read_bytes()[:size] == before  # the file is only extended
        assert current(quarantine) == [("b", "3")]
        assert current(quarantine, "other") == [("a", "4")]
        assert quarantine.open_keys("faq") == {"b"}
        third, second, first = quarantine.entries("faq")
        assert (third.record_key, third.is_open) == ("b", True)
        assert (
            (second.resolved_by, second.why) == (first.resolved_by, first.why) == ("r2", "loaded")
        )
        quarantine.add([entry("a", "5")])
        assert current(quarantine) == [("a", "5"), ("b", "3")]
        assert quarantine.open_keys("faq") == {"a", "b"}


OLD = (
    b'{"run_id":"2026-11-21-001","pipeline":"faq","record_key":"a","stage":"gate",'
    b'"reason":"low","record":{"id":"a"},"at":"2026-03-04T05:06:07Z"}\n'
)


def test_a_file_without_the_optional_fields_is_open(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(OLD)
    quarantine = QuarantineFile(path)
    assert quarantine.open_keys("faq") == {"a"}
    (read,) = quarantine.entries("faq")
    assert (read.is_open, read.scores, read.output, quarantine.damaged) == (True, {}, None, 0)


@pytest.mark.parametrize(
    "damage",
    [
        b'{"run_id": "r',
        b"[1]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"pipeline":"faq","record_key":"a","resolved_at":"2026-03-05"}\n',
        OLD.replace(b'{"id":"a"}', b"[]"),
        OLD.replace(b'"stage":"gate"', b'"stage":"gate","scores":[1]'),
        OLD.replace(b'"gate"', b"7"),
        b'{"pipeline":"faq","record_key":"a","resolved_at":"x","resolved_by":"y","why":null}\n',
    ],
)
def test_a_damaged_line_is_skipped_and_counted_and_damages_no_later_line(tmp_path, damage):
    path = tmp_path / "q.jsonl"
    with QuarantineFile(path) as quarantine:
        quarantine.add([entry("a")])
    with path.open("ab") as file:
        file.write(damage)
    with QuarantineFile(path) as quarantine:
        quarantine.add([entry("b")])
    assert [key for key, _ in current(quarantine)] == ["b", "a"]
    assert quarantine.damaged == 1
    assert quarantine.open_keys("faq") == {"a", "b"}


def test_a_missing_file_has_no_entries_and_is_not_created_without_need(tmp_path):
    with QuarantineFile(tmp_path / "q.jsonl") as quarantine:
        quarantine.check()
        assert quarantine.open_keys("faq") == set()
    assert list(quarantine.entries("faq")) == []
    assert list(tmp_path.iterdir()) == []


def write_many(path, name):
    with QuarantineFile(path) as quarantine:
        for n in range(200):
            quarantine.add([entry(f"{name}-{n}", record={"text": "x" * 5000})])
            quarantine.resolve([resolution(f"{name}-{n - 1}")])


def test_lines_of_several_writers_do_not_mix(tmp_path):
    path = tmp_path / "q.jsonl"
    threads = [threading.Thread(target=write_many, args=(path, name)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    quarantine = QuarantineFile(path)
    assert len(list(quarantine.entries("faq"))) == 800
    assert quarantine.open_keys("faq") == {"a-199", "b-199", "c-199", "d-199"}
    assert quarantine.damaged == 0


def test_a_disk_that_refuses_is_no_traceback():
    with pytest.raises(WorldError, match=r"/proc/q\.jsonl"):
        QuarantineFile(Path("/proc/q.jsonl")).add([entry("a")])
