"""Stored results as the side of a comparison."""

import orjson
import pytest
from msgspec.structs import replace

from loomgit.domain.runs import Case, RecordsFile
from loomgit.domain.samples import CaseSamples, Judgement, Sample
from loomgit.history.samples import to_line
from loomgit.history.store import RunStore
from loomgit.history.stored_results import StoredResults
from tests.runs import make_run

COMMITS = [letter * 40 for letter in "abcdef"]


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / ".loom", lambda _: None)


class Saver:
    """Saves runs, each begun a second after the one before."""

    def __init__(self, store):
        self.store, self.count = store, 0

    def __call__(self, *cases, fingerprint="f", commit="a", dirty=False, **changes):
        self.count += 1
        uid = f"20261121T1015{self.count:02d}Z-demo-{self.count:06x}"
        run = make_run(uid, started=f"2026-11-21T10:15:{self.count:02d}Z", cases=cases, **changes)
        run = replace(
            run,
            commit=replace(run.commit, id=commit * 40, dirty=dirty),
            config=replace(run.config, fingerprint=fingerprint),
            results=replace(run.results, records_processed=len(cases)),
        )
        self.store.save(run)
        return uid


@pytest.fixture
def save(store):
    return Saver(store)


def case(name, score=1.0, **changes):
    return replace(Case(name, f"k-{name}", "d", {"label": [score]}, 1, 1, 0.1, 0.2), **changes)


def find(store, fingerprint="f", kind="pipeline", **options):
    return StoredResults(store, "demo").find(fingerprint, kind, **options)


def test_results_are_found_by_fingerprint_whatever_the_commit(store, save):
    save(case("x", 0.1), fingerprint="other", commit="a")
    uid = save(case("x", 0.9), commit="b", dirty=True)
    found = find(store)
    assert found.side.runs == (uid,)
    assert found.side.commit == "b" * 40
    assert found.cases["x"].scores == {"label": [0.9]}
    assert find(store, "nope") is None
    assert find(store, kind="test") is None


def test_the_newest_of_equals_counts_and_the_one_with_most_cases_before(store, save):
    save(case("x", 0.1), case("y", 0.1))
    save(case("x", 0.2), case("y", 0.2))
    save(case("x", 0.3))
    assert find(store).cases["x"].scores == {"label": [0.2]}


def test_cases_that_the_best_run_lacks_come_from_the_others(store, save):
    first = save(case("z", 0.3))
    second = save(case("x", 0.1), case("y", 0.1), judges={"label": ["new"]})
    found = find(store)
    assert {name: c.scores["label"] for name, c in found.cases.items()} == {
        "x": [0.1], "y": [0.1], "z": [0.3],
    }  # fmt: skip
    assert found.side.runs == (second, first)
    assert found.judges == {"label": ("new",)}


def test_cases_of_another_question_stay_out(store, save):
    save(case("z"), question={"judge": "b"})
    save(case("x"), case("y"), question={"judge": "a"})
    assert find(store).cases.keys() == {"x", "y"}


def test_a_run_that_was_cut_short_is_no_baseline(store, save):
    save(case("x"), complete=False)
    assert find(store) is None
    assert find(store, whole=False).cases.keys() == {"x"}
    assert StoredResults(store, "demo").find_at(["a" * 40], "pipeline") is None


def test_the_nearest_commit_with_a_whole_clean_run_is_found(store, save):
    save(case("x", 0.1), commit="e")
    save(case("x", 0.2), commit="c")
    save(case("x", 0.3), commit="b", dirty=True)
    save(case("x", 0.4), commit="a", complete=False)
    found = StoredResults(store, "demo").find_at(COMMITS, "pipeline")
    assert found.cases["x"].scores == {"label": [0.2]}
    assert found.side.behind == 2
    assert StoredResults(store, "demo").find_at(["f" * 40], "pipeline") is None


def test_of_several_models_at_a_commit_the_one_that_is_asked_for_counts(store, save):
    config = make_run().config
    save(case("x", 0.1), fingerprint="1", config=replace(config, model="small"))
    save(case("x", 0.2), case("y"), fingerprint="2", config=replace(config, model="big"))
    evidence = StoredResults(store, "demo")
    assert evidence.find_at(COMMITS, "pipeline", "small").cases["x"].scores == {"label": [0.1]}
    assert evidence.find_at(COMMITS, "pipeline").cases["x"].scores == {"label": [0.2]}
    assert evidence.find_at(COMMITS, "pipeline", "gone").cases["x"].scores == {"label": [0.2]}


def test_a_run_with_other_variables_is_no_baseline(store, save):
    config = make_run().config
    french = replace(config, parameters={"vars": {"language": "French"}})
    save(case("x", 0.1), commit="b", config=config)
    save(case("x", 0.2), commit="a", config=french)
    evidence = StoredResults(store, "demo")
    assert evidence.find_at(COMMITS, "pipeline", None, {}).side.behind == 1
    assert evidence.find_at(COMMITS, "pipeline", None, {"language": "French"}).side.behind == 0
    assert evidence.find_at(COMMITS, "pipeline", None, {"language": "German"}) is None


def test_a_damaged_run_is_passed_over(store, save):
    save(case("x", 0.1))
    uid = save(case("x", 0.2))
    (row,) = [row for row in store.all() if row.uid == uid]
    (store.folder / row.path).write_text("{")
    assert find(store).cases["x"].scores == {"label": [0.1]}


def test_two_cases_that_are_called_the_same_are_both_kept(store, save):
    same = case("x", 0.1, samples=1)
    save(same, case("x", 0.2, definition="e"), case("x", 0.3, samples=2))
    found = find(store).cases
    assert found["x"].scores == {"label": [0.3]}  # of one question, the more samples
    assert found["x (2)"].scores == {"label": [0.2]}


def records(store, uid, lines):
    folder = store.folder / "records"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{uid}.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return RecordsFile(f"records/{uid}.jsonl", "0" * 64, len(lines))


def test_a_big_run_has_its_cases_in_its_records(store, save):
    lines = [
        {"key": "x", "case_key": "k", "def": "d", "case_scores": {"label": 0.5}, "cost": 0.1},
        {"key": "y", "case_key": "k", "def": "d", "case_scores": {"label": None},
         "failure": "lost", "latency": 0.3},
        {"key": "z", "case_key": "k", "def": "d", "case_scores": {}, "cost": 0.1, "cached": True},
        {"key": "from before lines had a case"},
    ]  # fmt: skip
    save(records=records(store, "big", lines))
    found = find(store).cases
    assert found.keys() == {"x", "y", "z"}
    assert (found["x"].scores, found["x"].passed, found["x"].cost) == ({"label": [0.5]}, 1, 0.1)
    assert (found["y"].scores, found["y"].passed, found["y"].latency) == ({"label": [None]}, 0, 0.3)
    assert found["z"].cost is None  # what a kept reply cost is not known


def test_a_big_session_has_its_samples_in_its_records(store, save):
    def line(index, score, **changes):
        sample = Sample(index, {}, "", "m", {"label": Judgement(score, "")}, **changes)
        return to_line(CaseSamples("x", "k", "d", {}), sample)

    lines = [line(0, 1.0, passed=True, cost=0.1, latency=1.0),
             line(1, 0.0, cost=0.3), line(2, 0.5, cost=0.0, cached=True)]  # fmt: skip
    save(records=records(store, "big", lines), kind="test")
    found = find(store, kind="test").cases["x"]
    assert found.scores == {"label": [1.0, 0.0, 0.5]}
    assert (found.samples, found.passed, found.latency) == (3, 1, 1.0)
    assert found.cost == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["test", "pipeline"])
@pytest.mark.parametrize("line", ["{", "1", '{"key": "x", "case_key": "k"}', '{"id": "x"}'])
def test_a_run_whose_records_are_damaged_is_no_result(store, save, kind, line):
    found = records(store, "big", [])
    (store.folder / found.path).write_text(line)
    save(records=found, kind=kind)
    assert find(store, kind=kind) is None


def test_a_run_whose_records_are_on_another_machine_is_no_result(store, save):
    save(records=RecordsFile("records/elsewhere.jsonl", "0" * 64, 5))
    assert find(store) is None
