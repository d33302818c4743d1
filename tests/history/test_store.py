import json
import multiprocessing
import os
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.runs import (
    Case,
    Cost,
    Performance,
    RecordsFile,
    Results,
    Run,
    RunConfig,
    ScoreSummary,
)
from loomgit.domain.versions import Commit
from loomgit.errors import UserError, WorldError
from loomgit.history import schema
from loomgit.history.store import RunStore, commit_folder

STAGES = {"extract": 0.1, "transform": 1.0, "evaluate": 0.2, "load": 0.1}
NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)


def make_run(uid: str = "20261121T101500Z-demo-abc123", **changes) -> Run:
    run = Run(
        schema_version=1,
        run_id="2026-11-21-001",
        uid=uid,
        kind="pipeline",
        pipeline="demo",
        pipeline_version="1.0",
        execution_date="2026-11-21T10:15:00Z",
        started="2026-11-21T10:15:00.000Z",
        commit=Commit("a" * 40, "b" * 40, "main", "2026-11-20T00:00:00+00:00", "Ada"),
        scope="c" * 64,
        config=RunConfig(
            "v1.0", "d" * 40, "embedded/icl", None, {"domain": "v1"}, {}, {}, "e" * 64
        ),
        results=Results("success", 10, 9, 1, 0.1),
        evaluation={"label": ScoreSummary(0.9, 0.1, 0.0, 1.0, 10, 0, 0.7, 9)},
        cost=Cost(0.5, 0.5, {"transform": 0.5, "evaluate": 0.0}, {"input": 1}, 10, 0, 0),
        performance=Performance(1.5, {"p50": 0.1, "p95": None, "p99": None}, STAGES),
        selected=10,
        total=10,
        complete=True,
        environment={"loomgit": "0.1.0"},
        source="data.csv",
        destination="sqlite://x.db/t",
        records=RecordsFile("records/x.jsonl", "f" * 64, 10),
        cases=(Case("c1", "k", "d", {"label": [1.0, None]}, 2, 1, None, 0.1),),
    )
    return replace(run, **changes)


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


def test_the_missions_fields_have_the_missions_names(store):
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
    (store.folder / "index.json").unlink()
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
    (store.folder / "index.json").unlink()
    path.write_bytes(path.read_bytes()[:100])
    assert store.all() == []
    assert not path.exists()
    assert path.with_name(path.name + ".damaged").exists()
    assert len(warnings) == 1
    assert path.name in warnings[0]


def test_a_newer_format_is_left_alone_with_one_warning(store, warnings):
    path = store.save(make_run())
    document = orjson.loads(path.read_bytes()) | {"schema_version": 99}
    path.write_bytes(orjson.dumps(document))
    (store.folder / "index.json").unlink()
    assert store.all() == []
    assert path.exists()
    assert warnings == ["1 run files were written by a newer Loom and are left out"]


def test_unknown_runs_say_where_to_look(store):
    with pytest.raises(UserError, match="there is no run latest") as caught:
        store.get("latest")
    assert caught.value.hint == "there are no runs yet"


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
