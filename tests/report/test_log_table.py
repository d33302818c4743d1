from msgspec.structs import replace

from loomgit.domain.log import FileLog, LatestRun, LogEntry, MeanScore, Measured
from loomgit.report.log import log_document, log_table

MEASURED = Measured(
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


def test_each_version_has_a_line_with_its_figures():
    assert list(log_table(LOG)) == [
        "VERSION               COMMIT    DATE        AUTHOR  RUNS  CASES  LABEL   TONE"
        "  COST/RECORD  LAST RUN        SUBJECT",
        "v1+1.gaaaaaaaa.dirty  -         -           -          0      0      -      -"
        "            -  -               (not committed)",
        "v1                    cccccccc  2026-11-20  Ada        3  1,200  0.871  0.500"
        "     $0.00045  2026-11-21-003  Begin",
        "",
        "Runs that were not complete and count in no score: 1.",
    ]


def test_below_stands_what_one_should_know():
    mixed = replace(MEASURED, complete=3, pipelines=("demo", "other"))
    log = replace(LOG, entries=(replace(OLD, measured=mixed),), total=30, shallow=True)
    _, _, _, *notes = log_table(log)
    assert [note.split(";")[0] for note in notes] == [
        "29 of 30 versions are not shown",
        "The scores are means over demo, other",
        "History is cut off here (shallow clone): older versions are missing",
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
        "runs": 3,
        "complete_runs": 2,
        "cases": 1_200,
        "scores": {"label": {"mean": 0.8712, "n": 1000}, "tone": {"mean": 0.5, "n": 10}},
        "cost_per_record": 0.00045,
        "pipelines": ["demo"],
        "latest_run": {
            "run_id": "2026-11-21-003",
            "uid": "uid-3",
            "started": "2026-11-21T10:15:00.000Z",
        },
    }
    assert log_document(LOG)["schema_version"] == 1
