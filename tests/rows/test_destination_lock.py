"""Locks of destinations, and the lock file below them."""

import subprocess
import sys

import pytest

from loomgit.domain.definitions import Extract, Load, Pipeline, Transform
from loomgit.domain.process_lock import ProcessLock
from loomgit.errors import WorldError
from loomgit.rows.destination_lock import lock_destination

HOLD = """
import sys, time
from pathlib import Path
from loomgit.domain.process_lock import ProcessLock
print(ProcessLock(Path(sys.argv[1])).acquire(), flush=True)
time.sleep(60)
"""


def locked(tmp_path, url, name="demo"):
    pipeline = Pipeline(name, "pipelines/demo.yaml", Extract("a.csv"), Transform(), Load(url))
    return lock_destination(pipeline, root=tmp_path, connections={})


@pytest.mark.parametrize("url", ["out/a.jsonl", "sqlite://out/a.db/t"])
def test_one_run_of_a_pipeline_loads_into_a_destination(tmp_path, url):
    with locked(tmp_path, url):
        message = r"another run of demo .* \(process \d+ on .*, since"
        with pytest.raises(WorldError, match=message), locked(tmp_path, url):
            raise AssertionError
        with locked(tmp_path, url, "other"):
            pass
    with locked(tmp_path, url):
        pass


def test_two_tables_of_a_database_have_two_locks(tmp_path):
    with locked(tmp_path, "sqlite://a.db/t"), locked(tmp_path, "sqlite://a.db/u"):
        assert len([*tmp_path.iterdir()]) == 2
    assert [*tmp_path.iterdir()] == []


def test_a_folder_stays_only_if_the_run_has_written_into_it(tmp_path):
    with locked(tmp_path, "deep/er/a.jsonl"):
        pass
    assert [*tmp_path.iterdir()] == []
    with locked(tmp_path, "deep/er/a.jsonl"):
        (tmp_path / "deep/er/a.jsonl").touch()
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["a.jsonl"]


def test_a_folder_that_cannot_be_created_is_left_to_the_check_of_the_destination(tmp_path):
    (tmp_path / "file").touch()
    with locked(tmp_path, "file/a.jsonl"):
        pass


def test_a_lock_of_a_dead_process_is_free(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "True\n"
    lock = ProcessLock(path)
    assert lock.holder().pid == process.pid
    assert not lock.acquire(seconds=0.1)
    process.kill()
    process.communicate(timeout=60)
    assert path.exists()
    assert lock.holder() is None
    assert lock.acquire()
    lock.release()
    assert not path.exists()
    assert lock.holder() is None
