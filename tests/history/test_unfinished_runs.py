"""The folders of unfinished runs: what other processes and a kill may do to them."""

import shutil
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace

from loomgit.domain.unfinished_runs import FORMAT, Attempt, UnfinishedRun
from loomgit.domain.versions import Commit
from loomgit.errors import WorldError
from loomgit.history.unfinished_runs import UnfinishedRuns

UID = "20261130T120000Z-my_demo-0a1b2c"


def attempt(number):
    return Attempt(f"2026-11-30-00{number}", UID, f"2026-11-30T12:00:0{number}.000Z")


RUN = UnfinishedRun(
    uid=UID,
    pipeline="my demo",
    execution_date="2026-11-30T12:00:00+00:00",
    variables={},
    limit=None,
    inputs={"the target": "t1"},
    fingerprint="f",
    commit=Commit("0" * 40, branch="main"),
    attempts=(attempt(1),),
)
SECOND = replace(RUN, attempts=(attempt(1), attempt(2)))
THIRD = replace(RUN, attempts=(attempt(1), attempt(2), attempt(3)))


@pytest.fixture
def runs(tmp_path):
    return UnfinishedRuns(tmp_path)


def begin(runs, run):
    with runs.working_on(run) as folder:
        (folder / "journal").write_text("kept", "utf-8")


def test_an_attempt_continues_only_the_attempts_that_its_process_knows(runs):
    begin(runs, RUN)
    begin(runs, SECOND)  # another process
    with pytest.raises(WorldError, match="another process has continued, completed or removed"):
        begin(runs, replace(RUN, attempts=(attempt(1), attempt(3))))
    begin(runs, THIRD)
    assert runs.all() == [THIRD]


def test_a_run_that_another_process_has_completed_is_not_begun_again(runs, tmp_path):
    begin(runs, RUN)
    runs.remove(RUN)
    with pytest.raises(WorldError, match="another process has continued, completed or removed"):
        begin(runs, SECOND)
    assert list(tmp_path.iterdir()) == []


def test_the_header_is_removed_first(runs, tmp_path, monkeypatch):
    """A process that is killed during the removal must not leave a run without its journal."""
    begin(runs, RUN)
    removed = []
    monkeypatch.setattr(shutil, "rmtree", lambda folder, **_: removed.append(folder))
    runs.remove(RUN)
    assert removed == [tmp_path / UID]
    assert (tmp_path / UID / "journal").exists()
    assert runs.all() == []
    now = datetime.now(UTC)
    assert runs.remnants(now - timedelta(days=1)) == []
    assert runs.remnants(now + timedelta(days=1)) == [tmp_path / UID]


def test_an_idle_run_is_removed_and_a_run_that_was_continued_is_not(runs):
    begin(runs, RUN)
    with runs.working_on(SECOND):
        assert not runs.remove_idle(RUN)
    assert not runs.remove_idle(RUN)
    assert runs.all() == [SECOND]
    assert runs.remove_idle(SECOND)
    assert runs.all() == []


def test_the_latest_run_is_one_of_the_same_pipeline_and_inputs(runs):
    begin(runs, RUN)
    assert runs.find_latest("my demo", {"the target": "t1"}) == RUN
    assert runs.find_latest("my demo", {"the target": "t2"}) is None
    assert runs.find_latest("demo", {"the target": "t1"}) is None


def test_the_latest_run_is_no_retry_of_rejected_records(runs):
    begin(runs, replace(RUN, reads_source=False))
    assert runs.find_latest("my demo", {}) is None
    assert runs.find("2026-11-30-001") is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b"", "is damaged"),
        (msgspec.json.encode(replace(RUN, format=FORMAT + 1)), "by a newer version of Loom"),
    ],
)
def test_a_header_that_cannot_be_read_does_not_look_like_no_run(runs, tmp_path, content, message):
    begin(runs, RUN)
    (tmp_path / UID / "run.json").write_bytes(content)
    with pytest.raises(WorldError, match=message):
        runs.find_latest("my demo", {})
    assert runs.find_latest("other", {}) is None
    assert runs.all() == []
