"""Locks that processes share for the calls that they make."""

import subprocess
import sys
import threading

import pytest

from loomgit.gateway.call_locks import CallLocks

OTHER = """\
import sys
from pathlib import Path
from loomgit.gateway.call_locks import CallLocks
locks = CallLocks(Path(sys.argv[1]))
print(*(locks.acquire(key.encode()) for key in sys.argv[2:]), flush=True)
sys.stdin.read()
"""


def other_process(path, *keys):
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(path), *keys],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "calls.lock"


def test_one_process_holds_a_key_until_it_ends(path):
    locks = CallLocks(path)
    with other_process(path, "a") as other:
        assert other.stdout.readline() == "True\n"
        assert locks.acquire(b"b")
        assert not locks.acquire(b"a")
        other.kill()
        other.wait(30)
        assert locks.acquire(b"a")
    locks.release(b"a")
    locks.release(b"b")


def test_a_released_key_is_free_for_others_and_the_other_keys_are_not(path):
    locks = CallLocks(path)
    assert locks.acquire(b"a")
    assert locks.acquire(b"b")
    locks.release(b"a")
    with other_process(path, "a", "b") as other:
        assert other.stdout.readline() == "True False\n"
        other.stdin.close()
    locks.release(b"b")


def test_threads_and_gateways_of_one_process_exclude_each_other(path):
    one, other = CallLocks(path), CallLocks(path)
    assert one.acquire(b"a")
    found = []
    thread = threading.Thread(target=lambda: found.append(other.acquire(b"a")))
    thread.start()
    thread.join()
    assert found == [False]
    one.release(b"a")
    assert other.acquire(b"a")
    other.release(b"a")
    other.release(b"a")  # what nobody holds


def test_a_folder_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(OSError, match="cache"):
        CallLocks(tmp_path / "cache" / "calls.lock").acquire(b"a")
