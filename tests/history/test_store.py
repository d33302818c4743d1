import errno
import io
import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loomgit.domain.runs import Case, ScoreSummary
from loomgit.domain.safe_text import remember
from loomgit.domain.versions import Commit
from loomgit.errors import UserError, WorldError
from loomgit.history import schema
from loomgit.history.records_writer import RecordsWriter
from loomgit.history.store import RunStore, commit_folder
from tests.runs import make_run

NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def store(tmp_path, warnings):
    return RunStore(tmp_path / ".loom", warnings.append)


def test_a_run_comes_back_as_it_was_saved(store):
    run = make_run()
    path = store.save(run)
    assert path.parent.name == "a" * 40
    assert store.get("latest") == run
    assert store.get("2026-11-21-001") == run
    assert store.get(run.uid) == run


def test_the_specified_fields_have_their_names(store):
    document = json.loads(store.save(make_run()).read_text())
    assert document["results"]["records_validated"] == 9
    assert document["evaluation"]["label"]["mean"] == 0.9
    assert document["cost"]["breakdown"] == {"transform": 0.5, "evaluate": 0.0}
    assert document["performance"]["latency"]["p50"] == 0.1
    assert document["config"]["context_versions"] == {"domain": "v1"}
    assert document["cases"][0]["def"] == "d"


def test_folders_are_named_by_the_commit():
    clean = Commit("a" * 40)
    assert commit_folder(clean) == "a" * 40
    assert commit_folder(replace(clean, dirty=True)) == "a" * 40 + "-dirty"
    assert commit_folder(Commit("unborn", dirty=True)) == "unborn"


def test_run_ids_count_up_within_a_day(store):
    names = [store.begin("demo pipe/ü", NOW) for _ in range(3)]
    assert [run_id for run_id, _ in names] == [f"2026-11-21-00{i}" for i in (1, 2, 3)]
    assert all(uid.startswith("20261121T101500Z-demo_pipe_-") for _, uid in names)
    assert len({uid for _, uid in names}) == 3


def test_what_loom_makes_is_ignored_by_git(store):
    store.begin("demo", NOW)
    assert "/runs/" in (store.folder / ".gitignore").read_text().splitlines()


def test_runs_are_listed_oldest_first_and_found_again_without_the_index(store):
    for number in (2, 1, 3):
        store.save(make_run(f"uid-{number}", started=f"2026-11-21T10:0{number}:00.000Z"))
    expected = ["uid-1", "uid-2", "uid-3"]
    assert [row.uid for row in store.all()] == expected
    (store.folder / "index.json").unlink(missing_ok=True)
    assert [row.uid for row in store.all()] == expected


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"runs": {"1": {}}}', b"\xff"])
def test_a_damaged_index_is_built_again(store, damage):
    store.save(make_run())
    (store.folder / "index.json").write_bytes(damage)
    assert [row.uid for row in store.all()] == [make_run().uid]
    store.save(make_run("uid-2"))
    assert len(store.all()) == 2


def test_the_index_follows_files_that_come_and_go_behind_its_back(store):
    path = store.save(make_run())
    other = path.with_name("uid-9.json")
    other.write_bytes(schema.to_json(make_run("uid-9")))
    assert {row.uid for row in store.all()} == {make_run().uid, "uid-9"}
    path.unlink()
    assert {row.uid for row in store.all()} == {"uid-9"}


def test_a_damaged_run_file_is_set_aside_and_named(store, warnings):
    path = store.save(make_run())
    (store.folder / "index.json").unlink(missing_ok=True)
    path.write_bytes(path.read_bytes()[:100])
    assert store.all() == []
    assert not path.exists()
    assert path.with_name(path.name + ".damaged").exists()
    assert len(warnings) == 1
    assert path.name in warnings[0]


def test_setting_aside_overwrites_nothing(store, warnings):
    path = store.save(make_run())
    for number in (1, 2):
        (store.folder / "index.json").unlink(missing_ok=True)
        path.write_bytes(b"{" * number)
        assert store.all() == []
    first, second = sorted(path.parent.glob("*.damaged*"))
    assert (first.name, second.name) == (f"{path.name}.damaged", f"{path.name}.damaged2")
    assert (first.read_bytes(), second.read_bytes()) == (b"{", b"{{")
    assert [first.name in warnings[0], second.name in warnings[1]] == [True, True]


def test_a_newer_format_is_left_alone_with_one_warning(store, warnings):
    path = store.save(make_run())
    document = orjson.loads(path.read_bytes()) | {"schema_version": 99}
    path.write_bytes(orjson.dumps(document))
    (store.folder / "index.json").unlink(missing_ok=True)
    assert store.all() == []
    assert path.exists()
    assert warnings == ["1 run files were skipped: a newer version of Loom wrote them"]


def test_runs_are_found_by_what_is_asked_of_them(store):
    topic = Commit("b" * 40, branch="topic")
    failed = replace(make_run().results, status="failed")
    for run in (
        make_run("uid-1", started="2026-11-20T23:59:59.999Z"),
        make_run("uid-2", started="2026-11-21T00:00:00.000Z", pipeline="other"),
        make_run("uid-3", started="2026-11-22T10:00:00.000Z", commit=topic, results=failed),
    ):
        store.save(run)

    def found(**wanted):
        return [row.uid[-1] for row in store.search(**wanted)]

    assert found() == ["1", "2", "3"]
    assert found(pipeline="demo") == ["1", "3"]
    assert found(branch="topic") == ["3"]
    assert found(commit="aaaa") == ["1", "2"]
    assert found(commit="baaa") == found(commit="aab") == found(commit=".*") == []
    assert found(status="failed") == ["3"]
    assert found(since=datetime(2026, 11, 21, tzinfo=UTC)) == ["2", "3"]
    east = timezone(timedelta(hours=2))
    assert found(since=datetime(2026, 11, 21, 2, 0, 1, tzinfo=east)) == ["3"]
    assert found(pipeline="demo", status="success", since=datetime(2026, 1, 1, tzinfo=UTC)) == ["1"]


def test_runs_are_found_by_fingerprint(store):
    other = replace(make_run().config, fingerprint="f" * 64)
    store.save(make_run("uid-1"))
    store.save(make_run("uid-2", config=other, commit=Commit("b" * 40)))
    assert [row.uid for row in store.search(fingerprint="f" * 64)] == ["uid-2"]
    assert store.search(fingerprint="f" * 8) == []


@pytest.mark.parametrize("fresh", [False, True])
def test_the_index_knows_what_was_run_and_what_it_scored(store, fresh):
    config = replace(make_run().config, context_blobs={"c": "2" * 40})
    scores = ScoreSummary(None, None, None, None, 0, 3, 0.7, 0)
    store.save(
        make_run(
            config=config,
            files={"pipelines/demo.yaml": "1" * 40, "prompts/_part.txt": "2" * 40},
            evaluation={**make_run().evaluation, "tone": scores},
        )
    )
    if not fresh:
        store.all()
        (store.folder / "index.json").unlink(missing_ok=True)
    (row,) = store.all()
    assert row.blobs == ["1" * 40, "2" * 40, "d" * 40]
    assert row.scores == {"label": 0.9, "tone": None}
    assert row.scored == {"label": 10, "tone": 0}


def test_a_summary_needs_no_cases():
    run = make_run()
    assert schema.from_json(schema.to_json(run), cases=False) == replace(run, cases=())


def test_an_index_of_the_first_format_is_built_again(store):
    store.save(make_run())
    (store.folder / "state" / "index.journal").unlink()
    store.all()
    index = store.folder / "index.json"
    document = orjson.loads(index.read_bytes())
    document["format"] = {"1": {"format": 1}}
    for name in ("blobs", "scores", "scored"):
        del document["runs"]["1"][name]
    index.write_bytes(orjson.dumps(document))
    assert store.all()[0].scores == {"label": 0.9}
    assert orjson.loads(index.read_bytes())["format"] == {"1": {"format": 4}}


def test_a_journal_line_of_an_older_format_is_read_from_its_run_file(store):
    store.save(make_run("uid-1"))
    store.all()
    store.save(make_run("uid-2"))
    journal = store.folder / "state" / "index.journal"
    row = orjson.loads(journal.read_bytes())
    del row["blobs"]
    journal.write_bytes(orjson.dumps(row) + b"\n")
    assert [row.blobs for row in store.all()] == [["d" * 40], ["d" * 40]]


def test_a_row_that_is_no_summary_makes_the_index_anew(store):
    store.save(make_run())
    store.all()
    index = store.folder / "index.json"
    document = orjson.loads(index.read_bytes())
    del document["runs"]["1"]["score"]
    index.write_bytes(orjson.dumps(document))
    assert store.all()[0].score == 0.9


def test_an_index_that_somebody_holds_is_left_to_them(store):
    store.save(make_run())
    with FileLock(store.folder / "index.lock"):
        assert len(store.all()) == 1
        assert not (store.folder / "index.json").exists()
    assert len(store.all()) == 1
    assert (store.folder / "index.json").exists()


def test_tracked_run_files_are_not_ignored(tmp_path):
    folder = tmp_path / ".loom"
    RunStore(folder, pytest.fail, tracked=lambda: True).begin("demo", NOW)
    lines = (folder / ".gitignore").read_text().splitlines()
    assert "/runs/" not in lines
    assert "/records/" in lines


def test_tracking_later_changes_one_line_of_the_users_file(tmp_path):
    folder = tmp_path / ".loom"
    folder.mkdir()
    (folder / ".gitignore").write_bytes(b"# m\xffine\r\n/runs/\r\n/cache/\r\n")
    RunStore(folder, pytest.fail).begin("demo", NOW)
    assert b"/runs/" in (folder / ".gitignore").read_bytes()
    RunStore(folder, pytest.fail, tracked=lambda: True).begin("demo", NOW)
    assert (folder / ".gitignore").read_bytes() == b"# m\xffine\r\n/cache/\r\n"


def test_unknown_runs_say_where_to_look(store):
    with pytest.raises(UserError, match="there is no run latest") as caught:
        store.get("latest")
    assert caught.value.hint == "there are no runs yet"


def test_a_secret_changes_only_its_own_line_of_a_batch(store):
    remember("gB7-records-secret-Q2")
    looks_secret = "password=unknown-to-Loom"
    with store.records("uid-1") as writer:
        writer.write([{"a": looks_secret}, {"a": "gB7-records-secret-Q2"}, {"a": 3}])
        records = writer.finish()
    lines = (store.folder / records.path).read_text().splitlines()
    assert lines == [f'{{"a":"{looks_secret}"}}', '{"a":"***"}', '{"a":3}']


def test_records_are_streamed_and_hashed(store):
    with store.records("uid-1") as writer:
        writer.write([{"a": 1}])
        writer.write([{"b": 2}, {"c": 3}])
        records = writer.finish()
    content = (store.folder / records.path).read_bytes()
    assert content == b'{"a":1}\n{"b":2}\n{"c":3}\n'
    assert records.count == 3
    import hashlib

    assert records.sha256 == hashlib.sha256(content).hexdigest()


def test_records_of_a_run_that_never_was_leave_nothing(store):
    with pytest.raises(RuntimeError), store.records("uid-1") as writer:
        writer.write([{"a": 1}])
        raise RuntimeError
    assert list((store.folder / "records").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_the_worlds_failure(tmp_path):
    (tmp_path / ".loom").write_text("a file where a folder belongs")
    store = RunStore(tmp_path / ".loom", lambda _: None)
    with pytest.raises(WorldError, match="cannot be written"):
        store.begin("demo", NOW)


def _write_many(folder, worker, count):
    store = RunStore(folder, lambda _: None)
    for number in range(count):
        store.begin("demo", NOW)
        store.save(make_run(f"uid-{worker}-{number}"))


def test_writers_do_not_meet(tmp_path):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    workers = [
        context.Process(target=_write_many, args=(tmp_path / ".loom", w, 15)) for w in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = RunStore(tmp_path / ".loom", pytest.fail)
    assert len(store.all()) == 60
    assert len(list((store.folder / "state" / "run_ids").iterdir())) == 60


text = st.text(max_size=20)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(text, numbers, st.dictionaries(text, text), st.lists(numbers, max_size=3))
def test_every_run_survives_its_json(name, number, mapping, samples):
    run = make_run(
        pipeline=name,
        environment=mapping,
        evaluation={name: ScoreSummary(number, number, number, number, 1, 0, 0.5, 1)},
        cases=(Case(name, "k", "d", {name: samples}, 1, 1, number, number),),
    )
    assert schema.from_json(schema.to_json(run)) == run


class FullDisk(io.FileIO):
    """A file on a disk with room for `room` bytes."""

    room = 40

    def write(self, content):
        left = self.room - self.tell()
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(content)[:left])


def test_a_batch_that_a_full_disk_cuts_off_leaves_only_whole_lines(tmp_path):
    path = tmp_path / "records.jsonl"
    with FullDisk(path, "xb") as file:
        writer = RecordsWriter(file, "records.jsonl")
        writer.write([{"index": 0, "status": "loaded"}])
        with pytest.raises(WorldError, match=r"records\.jsonl: No space left on device"):
            writer.write([{"index": 1, "status": "loaded"}])
        assert writer.finish().count == 1
    assert path.read_text() == '{"index":0,"status":"loaded"}\n'
