"""Locks between processes: two open files of one process exclude each other, as two processes."""

import fcntl
import os
import threading

from loomgit.domain.process_lock import ProcessLock


def test_a_lock_that_is_held_for_a_moment_is_waited_for(tmp_path):
    """`holder` has the lock for a moment, so that `loom runs list` could stop a run that starts."""
    path = tmp_path / "lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
    timer = threading.Timer(0.02, os.close, [file])
    timer.start()
    lock = ProcessLock(path)
    assert lock.acquire()
    lock.release()
    timer.join()


def test_a_lock_that_is_held_is_not_acquired(tmp_path):
    with ProcessLock(tmp_path / "lock") as held:
        assert held.acquire()
        assert not ProcessLock(tmp_path / "lock").acquire()
    assert ProcessLock(tmp_path / "lock").holder() is None


def test_a_lock_excludes_others_if_the_disk_is_full(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with ProcessLock(tmp_path / "lock") as held:
        assert held.acquire()
        assert not ProcessLock(tmp_path / "lock").acquire()
        assert "unknown" in str(ProcessLock(tmp_path / "lock").holder())
