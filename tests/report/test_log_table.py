from msgspec.structs import replace

from loomgit.domain.log import (
    FileLog,
    LatestRun,
    LogEntry,
    MeanScore,
    ResultGroup,
    ScoredRun,
    StoredScores,
)
from loomgit.report.log import log_document, log_table

MEASURED = StoredScores(
    runs=3,
    complete=2,
    cases=1_200,
    scores={"label": MeanScore(0.8712, 1000), "tone": MeanScore(0.5, 10)},
    cost_per_record=0.00045,
    latest=LatestRun("2026-11-21-003", "uid-3", "2026-11-21T10:15:00.000Z"),
    pipelines=("demo",),
)
NEW = LogEntry("v1+1.gaaaaaaaa.dirty", "a" * 40, "p.txt", worktree=True)
OLD = LogEntry(
    "v1", "b" * 40, "p.txt", ("c" * 40,), "2026-11-20T23:30:00+02:00", "Ada", "Begin",
    head=True, measured=MEASURED,
)  # fmt: skip
LOG = FileLog("p.txt", (NEW, OLD), 2, shallow=False)


def scored(uid, label):
    return ScoredRun(f"id-{uid}", uid, "2026-11-21T10:15:00.000Z", "c" * 40,
                     scores={"label": MeanScore(label, 10)})  # fmt: skip


def group(uid, *differs, label=0.9, kind="test", more=()):
    run = scored(uid, label)
    return ResultGroup("demo", kind, differs, run, (run, *more), 10 + 10 * len(more))


def table_of(*groups):
    own = next((found for found in groups if found.own), None)
    measured = replace(
        MEASURED, complete=3, groups=groups, scores=own.scores if own is not None else {}
    )
    lines = list(log_table(replace(LOG, entries=(replace(OLD, measured=measured),), total=1)))
    return [line.split() for line in lines[1:]]


def test_each_version_has_a_line_with_its_figures():
    assert list(log_table(LOG)) == [
        "VERSION               COMMIT    DATE        AUTHOR  RUNS  CASES  LABEL   TONE"
        "  COST/RECORD  LAST RUN        SUBJECT",
        "v1+1.gaaaaaaaa.dirty  -         -           -          0      0      -      -"
        "            -  -               (not committed)",
        "v1                    cccccccc  2026-11-20  Ada        3  1,200  0.871  0.500"
        "     $0.00045  2026-11-21-003  Begin",
        "",
        "Incomplete runs, which do not count in any score: 1.",
    ]


def test_below_stands_what_one_should_know():
    others = (group("a", "model x"),) * 5
    mixed = replace(MEASURED, complete=3, groups=others)
    log = replace(LOG, entries=(replace(OLD, measured=mixed),), total=30, shallow=True)
    notes = list(log_table(log))[6:]
    assert [note.split(";")[0] for note in notes] == [
        "29 of 30 versions are not shown",
        "2 older results with other inputs are not shown",
        "The history is truncated (shallow clone): older versions are missing",
    ]


def test_an_unknown_cost_is_no_missing_run():
    unknown = replace(OLD, measured=replace(MEASURED, complete=3, cost_per_record=None))
    assert "unknown  2026-11-21-003" in list(log_table(replace(LOG, entries=(unknown,))))[1]


def test_a_commit_cannot_speak_to_the_terminal():
    entry = replace(OLD, subject="\x1b[31mred\x07" + "y" * 80, author="A\rB")
    line = list(log_table(replace(LOG, entries=(entry,))))[1]
    assert line.isprintable()
    assert "…" in line


def test_the_document_has_all_of_it():
    new, old = log_document(LOG)["versions"]
    assert (new["commit"], new["date"], new["author"], new["subject"]) == (None,) * 4
    assert (new["worktree"], new["latest_run"], new["scores"]) == (True, None, {})
    assert old == {
        "version": "v1",
        "blob": "b" * 40,
        "path": "p.txt",
        "commit": "c" * 40,
        "commits": ["c" * 40],
        "date": "2026-11-20T23:30:00+02:00",
        "author": "Ada",
        "subject": "Begin",
        "head": True,
        "worktree": False,
        "state": None,
        "runs": 3,
        "complete_runs": 2,
        "cases": 1_200,
        "scores": {"label": {"mean": 0.8712, "n": 1000}, "tone": {"mean": 0.5, "n": 10}},
        "results": [],
        "cost_per_record": 0.00045,
        "pipelines": ["demo"],
        "latest_run": {
            "run_id": "2026-11-21-003",
            "uid": "uid-3",
            "started": "2026-11-21T10:15:00.000Z",
        },
    }
    assert log_document(LOG)["schema_version"] == 1


def test_results_with_other_inputs_have_lines_of_their_own():
    version, other = table_of(group("a"), group("b", "model x", "uncommitted work", label=0.4))
    assert "0.900" in version
    assert other == ["1", "0.400", "id-b", "with", "model", "x,", "uncommitted", "work"]


def test_further_runs_are_shown_if_their_scores_differ():
    assert len(table_of(group("a", more=(scored("b", 0.9),)))) == 1
    version, again = table_of(group("a", more=(scored("b", 0.9), scored("c", 0.7))))
    assert "0.900" in version
    assert again == ["2", "0.700", "id-c", "measured", "again"]


def test_runs_and_tests_have_lines_of_their_own():
    version, *lines = table_of(group("a"), group("b", kind="pipeline", label=0.2))
    assert version[6] == "-"
    assert lines == [
        ["1", "0.900", "id-a", "prompt", "tests"],
        ["1", "0.200", "id-b", "pipeline", "runs"],
    ]


def test_the_document_has_all_runs_of_all_groups():
    found = group("a", "model x", more=(scored("b", 0.7),))
    measured = replace(MEASURED, groups=(found,))
    log = replace(LOG, entries=(replace(OLD, measured=measured),))
    (result,) = log_document(log)["versions"][0]["results"]
    assert (result["pipeline"], result["kind"], result["own"]) == ("demo", "test", False)
    assert result["differs"] == ["model x"]
    assert result["scores"] == {"label": {"mean": 0.9, "n": 10}}
    assert (result["run"]["uid"], result["runs"], result["cases"]) == ("a", 2, 20)
    assert [run["uid"] for run in result["further_runs"]] == ["b"]
