"""Records that failed, kept until somebody looks."""

import threading
from pathlib import Path

import orjson
import pytest

from loomgit.errors import WorldError
from loomgit.rows.quarantine import Quarantine, QuarantineEntry, load_entries


def entry(key, reason="low", pipeline="faq", **values):
    defaults = {
        "run_id": "r1",
        "stage": "gate",
        "at": "2026-03-04T05:06:07Z",
        "record": {"id": key, "text": "é\n"},
    }
    return QuarantineEntry(pipeline=pipeline, record_key=key, reason=reason, **(defaults | values))


def test_an_entry_comes_back_as_it_was(tmp_path):
    whole = entry("a", scores={"factuality": 0.4, "broken": None}, error="no reply")
    with Quarantine(tmp_path / "deep" / "faq.jsonl") as quarantine:
        quarantine.append(whole)
    assert list(load_entries(tmp_path / "deep" / "faq.jsonl")) == [whole]
    line = orjson.loads((tmp_path / "deep" / "faq.jsonl").read_bytes())
    assert list(line) == [
        "run_id", "pipeline", "record_key", "stage", "reason", "scores", "reasons",
        "error", "output",
        "record", "at",
    ]  # fmt: skip


def test_the_latest_entry_of_a_record_is_the_current_one(tmp_path):
    path = tmp_path / "q.jsonl"
    with Quarantine(path) as quarantine:
        for one in (entry("a", "1"), entry("b", "2"), entry("a", "3"), entry("a", "4", "other")):
            quarantine.append(one)
    current = load_entries(path)
    assert [(one.record_key, one.reason) for one in current] == [("b", "2"), ("a", "3"), ("a", "4")]
    assert (len(current), current.damaged) == (3, 0)
    assert list(current) == list(current)


@pytest.mark.parametrize("damage", [b'{"run_id": "r', b"[1]\n", b"{}\n", b"\xff\xfe\n"])
def test_a_damaged_line_is_passed_over_and_counted_and_spoils_no_later_one(tmp_path, damage):
    path = tmp_path / "q.jsonl"
    with Quarantine(path) as quarantine:
        quarantine.append(entry("a"))
    with path.open("ab") as file:
        file.write(damage)
    with Quarantine(path) as quarantine:
        quarantine.append(entry("b"))
    current = load_entries(path)
    assert ([one.record_key for one in current], current.damaged) == (["a", "b"], 1)


def test_a_missing_file_has_no_entries_and_none_is_made_without_need(tmp_path):
    with Quarantine(tmp_path / "q.jsonl"):
        pass
    assert list(load_entries(tmp_path / "q.jsonl")) == []
    assert list(tmp_path.iterdir()) == []


def write_many(path, name):
    with Quarantine(path) as quarantine:
        for n in range(200):
            quarantine.append(entry(f"{name}-{n}", record={"text": "x" * 5000}))


def test_lines_of_several_writers_do_not_mix(tmp_path):
    path = tmp_path / "q.jsonl"
    threads = [threading.Thread(target=write_many, args=(path, name)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    current = load_entries(path)
    assert (len(current), current.damaged) == (800, 0)


def test_a_disk_that_refuses_is_no_traceback():
    with pytest.raises(WorldError, match=r"/proc/q\.jsonl"):
        Quarantine(Path("/proc/q.jsonl")).append(entry("a"))
