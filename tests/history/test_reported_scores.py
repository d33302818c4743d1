import pytest

from loomgit.domain.log import MeanScore, ScoredRun
from loomgit.errors import WorldError
from loomgit.history.reported_scores import FILE, ReportedScore, ReportedScores


def score(mean, kind="test", commit="a" * 40):
    run = ScoredRun("2026-11-21-001", "uid", "2026-11-21T10:05:00.000Z", commit,
                    scores={"label": MeanScore(mean, 4)})  # fmt: skip
    return ReportedScore(commit, "prompts/a.txt", "demo", kind, run)


def test_the_first_report_counts(tmp_path):
    ReportedScores(tmp_path).add([score(0.5), score(0.6, "pipeline")])
    ReportedScores(tmp_path).add([score(0.9), score(0.7, commit="b" * 40)])
    found = ReportedScores(tmp_path)
    assert found.find("a" * 40, "prompts/a.txt") == {
        ("demo", "test"): score(0.5).run,
        ("demo", "pipeline"): score(0.6, "pipeline").run,
    }
    assert found.find("a" * 40, "prompts/b.txt") == {}
    assert len((tmp_path / FILE).read_bytes().splitlines()) == 3


def test_two_writers_at_once_do_not_contradict(tmp_path):
    one, two = ReportedScores(tmp_path), ReportedScores(tmp_path)
    assert one.find("a" * 40, "prompts/a.txt") == two.find("a" * 40, "prompts/a.txt") == {}
    one.add([score(0.5)])
    two.add([score(0.9)])
    found = ReportedScores(tmp_path).find("a" * 40, "prompts/a.txt")
    assert found["demo", "test"].scores == {"label": MeanScore(0.5, 4)}


def test_a_line_that_is_cut_off_is_left_out(tmp_path):
    ReportedScores(tmp_path).add([score(0.5)])
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"commit": "aa')
    found = ReportedScores(tmp_path).find("a" * 40, "prompts/a.txt")
    assert list(found) == [("demo", "test")]


def test_nothing_new_writes_nothing(tmp_path):
    ReportedScores(tmp_path).add([])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(WorldError, match="cannot be written"):
        ReportedScores(tmp_path).add([score(0.5)])
