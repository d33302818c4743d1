import os
import random
import time

import pytest

from loomgit.history.store import RunStore
from tests.runs import make_run
from tests.writers import attack, write_runs


@pytest.mark.parametrize("seed", range(3))
def test_eight_writers_one_of_them_killed_lose_nothing(tmp_path, seed):
    left = attack(tmp_path, 25, random.Random(seed), expected=0.5)
    assert left.faults == []
    assert left.promised >= 7 * 25
    assert left.files - left.promised in (0, 1)  # the one whose writer died before it could say so


def test_a_damaged_file_among_many_is_set_aside_and_named_and_the_rest_stays(tmp_path):
    folder = tmp_path / ".loom"
    folder.mkdir()
    write_runs(folder, "writer", 20)
    victim = next((folder / "runs").glob("*/writer-7.json"))
    victim.write_bytes(victim.read_bytes()[:-200])
    heard = []
    rows = RunStore(folder, heard.append).all()
    assert {row.uid for row in rows} == {f"writer-{n}" for n in range(20) if n != 7}
    assert len(heard) == 1
    assert "writer-7.json is damaged and was renamed to writer-7.json.damaged: " in heard[0]


def test_a_file_damaged_after_it_was_indexed_is_set_aside_when_it_is_read(tmp_path):
    heard = []
    store = RunStore(tmp_path / ".loom", heard.append)
    path = store.save(make_run())
    assert len(store.all()) == 1
    path.write_bytes(b"{}")
    with pytest.raises(Exception, match="contains no valid run: no schema_version"):
        store.get("latest")
    assert len(heard) == 1
    assert store.all() == []


def test_what_a_killed_writer_left_is_swept_when_it_is_old(tmp_path):
    store = RunStore(tmp_path / ".loom", pytest.fail)
    path = store.save(make_run())
    old, young = (path.with_name(f".x.json.{digits}.tmp") for digits in ("0123abcd", "4567abcd"))
    for one in (old, young):
        one.write_bytes(b"{")
    os.utime(old, (time.time() - 7200,) * 2)
    assert [row.uid for row in store.all()] == [make_run().uid]
    assert (old.exists(), young.exists()) == (False, True)


def test_writing_costs_the_same_however_many_runs_there_are(tmp_path):
    store = RunStore(tmp_path / ".loom", pytest.fail)
    store.save(make_run("uid-0"))
    store.all()
    index = store.folder / "index.json"
    before = index.stat().st_mtime_ns, index.stat().st_size
    journal = store.folder / "state/index.journal"
    for number in range(1, 6):
        store.save(make_run(f"uid-{number}"))
    assert (index.stat().st_mtime_ns, index.stat().st_size) == before  # not rewritten by a writer
    assert len(journal.read_bytes().split()) == 5
    assert len(store.all()) == 6
    assert (index.stat().st_mtime_ns, index.stat().st_size) == before  # nor by a reader of a few


def test_a_line_of_the_journal_that_was_cut_off_costs_nothing(tmp_path):
    store = RunStore(tmp_path / ".loom", pytest.fail)
    store.save(make_run("uid-0"))
    store.all()
    store.save(make_run("uid-1"))
    journal = store.folder / "state/index.journal"
    journal.write_bytes(journal.read_bytes()[:-30])
    store.save(make_run("uid-2"))
    assert [row.uid for row in store.all()] == ["uid-0", "uid-1", "uid-2"]


def test_a_long_journal_is_folded_into_the_index(tmp_path):
    store = RunStore(tmp_path / ".loom", pytest.fail)
    store.save(make_run("uid-0"))
    store.all()
    for number in range(1, 203):
        store.save(make_run(f"uid-{number}"))
    assert len(store.all()) == 203
    assert not (store.folder / "state/index.journal").exists()
    for path in (store.folder / "runs").glob("*/*.json"):
        path.write_bytes(b"never read again")
    assert len(store.all()) == 203


def test_a_journal_without_its_index_is_not_believed(tmp_path):
    heard = []
    store = RunStore(tmp_path / ".loom", heard.append)
    store.save(make_run("uid-0"))
    store.all()
    path = store.save(make_run("uid-1"))
    (store.folder / "index.json").unlink()
    path.write_bytes(b"{")
    assert [row.uid for row in store.all()] == ["uid-0"]
    assert len(heard) == 1
