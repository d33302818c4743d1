import re
import struct
import subprocess
import sys

import pytest

from loomgit.domain.log import FileLog, LogEntry, MeanScore, StoredScores
from loomgit.report.plot import plot_scores


def entry(number, **scores):
    means = {name: MeanScore(mean, 10) for name, mean in scores.items()}
    return LogEntry(
        f"v{number}", "b" * 40, "p", ("c" * 40,), f"2026-03-{number:02}T00:00:00Z",
        measured=StoredScores(scores=means),
    )  # fmt: skip


def log(*entries, path="prompts/a.txt"):
    return FileLog(path, entries, len(entries), shallow=False)


GAPPED = log(
    *(entry(n, **({} if n == 4 else {"label": 0.8, "tone": 0.05})) for n in range(7, 0, -1))
)


def words(svg):
    return re.findall(r"<!-- (.*?) -->", svg.decode())


def test_axes_and_lines_are_labelled():
    said = words(plot_scores(GAPPED, "svg"))
    assert {"prompts/a.txt", "Mean score", "label", "tone"} <= set(said)
    assert any("oldest to newest" in word for word in said)


def test_a_version_without_a_score_is_a_gap():
    def parts(scored):
        svg = plot_scores(scored, "svg").decode()
        return sorted(path.count("M ") for path in re.findall(r'<path d="([^"]+)" clip-path', svg))

    whole = log(*(entry(n, label=0.8, tone=0.5) for n in range(7, 0, -1)))
    assert parts(GAPPED)[-2:] == [2, 2]
    assert max(parts(whole)) == 1


@pytest.mark.parametrize("picture", ["png", "svg"])
def test_the_same_log_is_the_same_picture_in_another_process(picture):
    script = (
        "import sys, hashlib; sys.path.insert(0, 'tests/report')\n"
        "from test_plot import GAPPED, plot_scores\n"
        f"print(hashlib.sha256(plot_scores(GAPPED, {picture!r})).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_the_users_configuration_does_not_get_in(monkeypatch):
    import matplotlib as mpl

    plain = plot_scores(GAPPED, "png")
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30, "lines.linewidth": 9}):
        assert plot_scores(GAPPED, "png") == plain


def test_a_picture_has_a_size_that_a_page_takes():
    def width(count):
        png = plot_scores(log(*(entry(1, label=0.5) for _ in range(count))), "png")
        assert png.startswith(b"\x89PNG")
        return struct.unpack(">I", png[16:20])[0]

    assert (width(1), width(300)) == (840, 1680)


def test_names_are_shown_as_they_are_written():
    odd = log(entry(1, **{"$x^2$": 0.5, "日本": 0.1, "_hidden": 0.3}), path="a$b$.txt")
    said = words(plot_scores(odd, "svg"))
    assert {"a$b$.txt", "$x^2$", "日本", "_hidden"} <= {w.strip().replace(r"\$", "$") for w in said}


def test_many_versions_have_few_labels_and_the_newest_is_one():
    said = words(plot_scores(log(*(entry(n, label=0.5) for n in range(30, 0, -1))), "svg"))
    labels = [word for word in said if re.match(r"v\d+$", word)]
    assert labels[-1] == "v30"
    assert len(labels) <= 12


def test_no_score_at_all_is_said():
    assert "no version has a score" in words(plot_scores(log(entry(1)), "svg"))
