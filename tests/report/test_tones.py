import pytest

from loomgit.report.tones import split_tones


def toned(line):
    """The parts that have a tone: {text: tone}."""
    parts = list(split_tones(line))
    assert "".join(part.text for part in parts) == line
    return {part.text: part.tone for part in parts if part.tone}


@pytest.mark.parametrize(
    ("line", "tones"),
    [
        (
            "Extract:   ✅ 10,000 records (2.3s)",
            {"✅ 10,000 records": "success", " (2.3s)": "secondary"},
        ),
        ("Transform: ❌ 3 processed (0.1s)", {"❌ 3 processed (0.1s)": "failure"}),
        ("  ✅ obvious_positive", {"✅ obvious_positive": "success"}),
        ("  ⚠️ end_to_end: unverified", {"⚠️ end_to_end: unverified": "warning"}),
        ("✅ Pipeline completed successfully", {"✅ Pipeline completed successfully": "success"}),
        ("❌ Budget exceeded: 1 (2)", {"❌ Budget exceeded: 1 (2)": "failure"}),
        ("Pipeline is valid ✅", {"Pipeline is valid ✅": "success"}),
        ("Pipeline is not valid ❌", {"Pipeline is not valid ❌": "failure"}),
        ("error: no such file", {"error:": "failure"}),
        ("warning: 3 calls", {"warning:": "warning"}),
        ("hint: add --aa", {"hint: add --aa": "secondary"}),
        ("  worse: r-1  1.00 -> 0.00 (label 1.00 -> 0.00)", {"worse:": "failure"}),
        ("  not comparable: case 1: its input differs", {"not comparable:": "warning"}),
        ("Status: Running...", {"Status: Running...": "secondary"}),
        ("All tests passed (7/7)", {"All tests passed (7/7)": "success"}),
        ("1 of 3 tests failed (2/3 passed)", {"1 of 3 tests failed (2/3 passed)": "failure"}),
        (
            "No test failed (1/2 passed, 1 open)",
            {"No test failed (1/2 passed, 1 open)": "warning"},
        ),
        ("RUN             PIPELINE  STATUS   PASSED", ...),
        ("  METRIC  BASE   HEAD   Δ       90% INTERVAL  n   p      VERDICT", ...),
        ("2026-11-30-003  reviews   success  20/20   1.00", {"success": "success"}),
        ("2026-11-30-003  reviews   budget_exceeded  1/20", {"budget_exceeded": "failure"}),
        (
            "  Label  1.000  0.500  -0.500  [-0.9, -0.1]  4  0.001  degraded",
            {"degraded": "failure"},
        ),
        ("  cost a case  $1.00  $2.00  +1.0%  4  -  (unchanged)", {"(unchanged)": "secondary"}),
        ("demo: degraded, and accepted", {"degraded, and accepted": "warning"}),
        ("demo: no worse", {"no worse": "success"}),
        (
            "demo (v1.0.0): 7 tests, 5 pass, 1 fail, 1 inconclusive",
            {"5 pass": "success", "1 fail": "failure", "1 inconclusive": "warning"},
        ),
    ],
)
def test_a_part_has_the_tone_of_its_sign_label_or_verdict(line, tones):
    assert toned(line) == ({line: "secondary"} if tones is ... else tones)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "  Processed: 10,000",
        "  Changed:   20 new, 3 unchanged",
        "Cost: $2.34",
        "  Semantic Similarity: 0.87 (±0.12)",
        "an error: of the model",
        "    3 x label failed",
        "ID  42",
        "2026-11-30  4     62     0       8,612  1,285   $0.00  $0.00",
        "the answer is ✅ they say, and continue",
        "7 tests, 7 passed later, 0 fail",
    ],
)
def test_other_text_has_no_tone(line):
    assert toned(line) == {}
