import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing

import pytest

from loomgit.domain.models import Completion, Usage
from loomgit.errors import WorldError
from loomgit.gateway.reply_store import ReplyStore, clear, prune, read_figures
from tests.soak import sized

REPLY = Completion("Fine.", "gpt-4o-mini-2024-07-18", Usage(10, 2, 5), cost=0.25, latency=1.5)
KEPT = Completion("Fine.", REPLY.model, REPLY.usage, cost=0.0, attempts=0, cached=True, saved=0.25)
KEY = b"k" * 32


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "responses.sqlite"


def key(number):
    return number.to_bytes(32, "big")


class Opened:
    """Stores on one file, with a clock that is set by hand; all are closed at the end."""

    def __init__(self, path):
        self.path, self.now, self.warnings, self.stores = path, 1000.0, [], []

    def store(self, **options):
        store = ReplyStore(self.path, warn=self.warnings.append, clock=lambda: self.now, **options)
        self.stores.append(store)
        return store

    def keep(self, replies, **options):
        store = self.store(**options)
        for name, reply in replies.items():
            store.put(name, reply)
        store.close()


@pytest.fixture
def opened(path):
    made = Opened(path)
    yield made
    for store in made.stores:
        store.close()


def test_what_was_put_is_found_at_once_and_by_the_next_run(opened):
    first = opened.store()
    assert first.find(KEY) is None
    first.put(KEY, REPLY)
    assert first.find(KEY) == KEPT
    first.close()
    assert opened.store().find(KEY) == KEPT
    assert opened.warnings == []


def test_an_unknown_cost_stays_unknown(opened):
    opened.keep({KEY: Completion("x", "mine")})
    assert opened.store().find(KEY).saved is None


def test_another_process_finds_it_while_the_first_is_still_at_work(opened):
    first, second = opened.store(), opened.store()
    assert second.find(KEY) is None
    first.put(KEY, REPLY)
    deadline = time.monotonic() + 5
    while second.find(KEY) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert second.find(KEY) == KEPT


def test_a_reply_older_than_its_ttl_is_not_found(opened):
    opened.keep({KEY: REPLY})
    opened.now += 60
    store = opened.store()
    assert store.find(KEY, ttl=60) == KEPT
    assert store.find(KEY, ttl=59) is None
    assert store.find(KEY) == KEPT


def test_over_its_limit_the_least_used_go(opened):
    opened.keep({key(number): REPLY for number in range(100)})
    size = read_figures(opened.path, 0.0).entries
    assert size == 100
    opened.now += 10_000
    store = opened.store()
    for number in range(10):
        assert store.find(key(number)) == KEPT
    store.close()
    opened.keep({key(1000): REPLY}, limit=100 * 250 // 5)
    store = opened.store()
    found = {number for number in (*range(100), 1000) if store.find(key(number))}
    assert 1000 in found
    assert set(range(10)) <= found, "what was used lately stays"
    assert len(found) < 70


def test_a_reply_with_a_wrong_bit_anywhere_is_not_served(opened):
    opened.keep({KEY: REPLY})
    store = opened.store()
    change = "UPDATE replies SET value = ?"
    with closing(sqlite3.connect(opened.path, isolation_level=None)) as database:
        (value,) = database.execute("SELECT value FROM replies").fetchone()
        for place in range(8 * len(value)):
            bad = bytearray(value)
            bad[place // 8] ^= 1 << place % 8
            database.execute(change, (bytes(bad),))
            assert store.find(KEY) in (None, KEPT)
        assert store.find(KEY) is None
        database.execute(change, (value,))
        assert store.find(KEY) == KEPT


def test_a_damaged_reply_is_asked_for_again_and_kept_again(opened):
    opened.keep({key(number): REPLY for number in range(3)})
    with closing(sqlite3.connect(opened.path)) as database, database:
        (value,) = database.execute("SELECT value FROM replies WHERE key=?", (key(0),)).fetchone()
        change = "UPDATE replies SET value=? WHERE key=?"
        database.execute(change, (value[:-9], key(0)))
        database.execute(change, (value, key(1)))  # whole, but another key's
    store = opened.store()
    assert [store.find(key(number)) for number in range(3)] == [None, None, KEPT]
    store.put(key(0), REPLY)
    store.close()
    assert opened.store().find(key(0)) == KEPT


def test_a_file_that_is_no_database_is_replaced_and_said_so(opened):
    opened.path.parent.mkdir()
    opened.path.write_bytes(b"no database" * 1000)
    store = opened.store()
    assert store.find(KEY) is None
    store.put(KEY, REPLY)
    store.close()
    assert opened.store().find(KEY) == KEPT
    assert len(opened.warnings) == 1
    assert "damaged" in opened.warnings[0]


def test_a_place_that_cannot_be_written_costs_only_the_cache(opened):
    opened.path.parent.write_text("a file where a folder should be")
    store = opened.store()
    assert store.find(KEY) is None
    store.put(KEY, REPLY)
    assert store.find(KEY) is None
    store.close()
    assert len(opened.warnings) == 1
    assert "disabled" in opened.warnings[0]


def test_figures_tell_what_is_there(opened):
    assert read_figures(opened.path, 0.0).entries == 0
    opened.keep({key(1): REPLY, key(2): REPLY})
    opened.now = 1500.0
    opened.keep({key(3): Completion("x", "mine")})
    found = read_figures(opened.path, 2000.0)
    assert (found.entries, found.cost, found.oldest, found.newest) == (3, 0.5, 1000.0, 500.0)
    assert found.models == {"gpt-4o-mini-2024-07-18": (2, 0.5), "mine": (1, 0.0)}
    assert found.bytes > 4096


def test_clearing_and_pruning_remove_what_they_say(opened):
    opened.keep({key(number): REPLY for number in range(5)})
    opened.now = 2000.0
    opened.keep({key(number): REPLY for number in range(5, 8)})
    assert prune(opened.path, before=1500.0) == 5
    assert prune(opened.path, before=1500.0) == 0
    assert prune(opened.path, limit=500) == 2
    assert clear(opened.path) == 1
    assert read_figures(opened.path, 0.0).entries == 0
    assert clear(opened.path.with_name("nowhere")) == 0


def test_a_damaged_file_can_be_cleared_and_not_read(opened):
    opened.path.parent.mkdir()
    opened.path.write_bytes(b"no database" * 1000)
    with pytest.raises(WorldError, match="responses.sqlite"):
        read_figures(opened.path, 0.0)
    assert clear(opened.path) == 0
    assert not opened.path.exists()


WRITER = """
    import sys
    from pathlib import Path
    from loomgit.domain.models import Completion
    from loomgit.gateway.reply_store import ReplyStore
    store = ReplyStore(Path(sys.argv[1]), warn=print)
    number = int(sys.argv[2])
    print("ready", flush=True)
    while True:
        number += 1
        name = number.to_bytes(32, "big")
        store.put(name, Completion(f"{number}:" + "x" * (number % 3000), "m"))
        store.find(name)
        if number % 50 == 0:
            import time
            time.sleep(0.002)
"""


def test_processes_that_are_killed_while_they_write_leave_no_damage(opened):
    chance = random.Random(7)
    for round_ in range(sized(2, 20)):
        writers = []
        for number in range(4):
            first = (round_ * 4 + number) * 10**6
            command = [sys.executable, "-c", textwrap.dedent(WRITER), str(opened.path), str(first)]
            writers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            time.sleep(chance.uniform(0.02, 0.15))
            writer.send_signal(signal.SIGKILL)
            said, _ = writer.communicate()
            assert said == "", "nobody had anything to complain of"
    store = opened.store()
    with closing(sqlite3.connect(opened.path)) as database:
        names = [row[0] for row in database.execute("SELECT key FROM replies")]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(names) > 100
    for name in names:
        number = int.from_bytes(name, "big")
        assert store.find(name).text == f"{number}:" + "x" * (number % 3000)
    assert opened.warnings == []
