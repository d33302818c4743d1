"""Colors and progress lines on a pseudo terminal."""

import json
import re
import time

import pytest

from tests import terminal
from tests.comparisons import make_comparable, with_transform
from tests.projects import REVIEWS, make_project
from tests.servers.openai_server import OpenAiServer
from tests.terminal import COLOR, ERASE

GREEN, RED, YELLOW, DIM = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[2m"
PRICES = ", input_price: 1, output_price: 1"
EVIL = "\x1b[31mred\x1b[0m\x1b]0;title\x07\r\x9b1m"


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project")


@pytest.fixture
def server():
    with OpenAiServer(latency=0.1) as server:
        server.respond = lambda _: json.dumps({"sentiment": "positive", "confidence": 0.9})
        yield server


def make_slow(folder, server, prices=PRICES, count=60):
    """A project whose run lasts about a second."""
    rows = "".join(f"r-{n},It is great {n},positive\n" for n in range(count))
    return make_comparable(
        folder,
        **{
            "pipelines/demo.yaml": with_transform("model: m"),
            "data/reviews.csv": f"review_id,review,expected\n{rows}",
            ".loom/config.yaml": (
                f"models:\n  m: {{base_url: '{server.url}', api_key: k{prices}}}\n"
                "defaults: {concurrency: 10}\n"
            ),
        },
    )


# -- colors


def test_a_run_is_colored_by_meaning(project):
    shown = terminal.run(project, "run", "demo")
    assert shown.returncode == 0
    assert f"Load:      {GREEN}✅ 4 loaded\x1b[0m{DIM} (" in shown.screen
    assert f"{GREEN}✅ Pipeline completed successfully\x1b[0m" in shown.screen
    listed = terminal.run(project, "runs", "list").screen
    assert listed.startswith(f"{DIM}RUN ")
    assert f"  {GREEN}success\x1b[0m  " in listed


def test_a_failure_is_red_and_has_a_sign(tmp_path):
    wrong = {"data/reviews.csv": REVIEWS.replace("positive", "no").replace("negative", "no")}
    shown = terminal.run(make_project(tmp_path / "project", **wrong), "run", "demo")
    assert shown.returncode == 1
    assert f"{RED}❌ Pipeline failed: no record passed" in shown.screen
    assert f"{RED}error:\x1b[0m no record passed" in shown.screen


def test_a_warning_is_yellow_and_a_hint_is_dim(project):
    (project / "data/reviews.csv").write_text("review_id,review,expected\n")
    assert f"{YELLOW}warning:\x1b[0m the source has no records" in (
        terminal.run(project, "run", "demo").screen
    )
    shown = terminal.run(project, "run", "dem")
    assert shown.screen.startswith(f"{RED}error:\x1b[0m there is no pipeline dem")
    assert f"{DIM}hint: " in shown.screen


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--no-color"], {}),
        ([], {"NO_COLOR": "1"}),
        ([], {"NO_COLOR": "any value"}),
        ([], {"LOOM_NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
    ],
)
def test_colors_can_be_turned_off(project, arguments, variables):
    for command in (["validate"], ["run", "no-such"], ["run", "demo", "--no-such"]):
        shown = terminal.run(project, *command, *arguments, **variables)
        assert "\x1b" not in shown.screen
        assert shown.screen.startswith(("Validating: demo", "error: "))
        assert "boolean" not in shown.screen


@pytest.mark.parametrize(
    "variables", [{"NO_COLOR": ""}, {"LOOM_NO_COLOR": "0"}, {"LOOM_NO_COLOR": "false"}]
)
def test_an_empty_or_negative_variable_leaves_colors_on(project, variables):
    assert GREEN in terminal.run(project, "validate", **variables).screen
    assert RED in terminal.run(project, "run", "no-such", **variables).screen


def test_each_stream_has_colors_only_if_it_is_a_terminal(project):
    (project / "data/reviews.csv").write_text("review_id,review,expected\n")
    to_file = terminal.run(project, "run", "demo", stdout=False)
    assert "\x1b" not in to_file.stdout
    assert "✅ Pipeline completed successfully" in to_file.stdout
    assert YELLOW in to_file.screen
    to_file = terminal.run(project, "run", "demo", stderr=False)
    assert to_file.stderr == "warning: the source has no records\n"
    assert GREEN in to_file.screen


def test_the_text_is_the_same_with_and_without_a_terminal(project):
    for command in (["validate"], ["run", "demo", "--dry-run"], ["test"], ["runs", "list"]):
        on = terminal.run(project, *command)
        off = terminal.run(project, *command, stdout=False, stderr=False)
        assert "\x1b" not in off.stdout + off.stderr
        assert on.text.splitlines() == [*off.stderr.splitlines(), *off.stdout.splitlines()]


def test_untrusted_text_sends_no_codes_to_the_terminal(project):
    review = json.dumps(EVIL)
    (project / "tests").mkdir()
    (project / "tests/demo_test.yaml").write_text(SUITE.replace("✅ great", review[1:-1]))
    for command in (["test"], ["run", EVIL], ["run", "demo", f"--{EVIL}"]):
        shown = terminal.run(project, *command)
        assert "\x1b" in shown.screen
        assert "\\x1b[31mred" in shown.screen
        rest = COLOR.sub("", shown.screen).replace(ERASE, "").replace("\r\n", "\n")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", rest), rest
        assert f"{RED}red" not in shown.screen


SUITE = """\
pipeline: demo
unit_tests:
  - {name: one, input: {review: "✅ great\\nerror: x", expected: x}, expected: {sentiment: x}}
  - {name: two, input: {review: I love it, expected: positive}, expected: {sentiment: positive}}
"""


def test_content_of_a_failed_test_is_not_colored(project):
    (project / "tests").mkdir()
    (project / "tests/demo_test.yaml").write_text(SUITE)
    shown = terminal.run(project, "test").screen
    assert f"  {GREEN}✅ two\x1b[0m" in shown
    assert f"  {RED}❌ one" in shown
    assert f"{RED}1 of 2 tests failed (1/2 passed)\x1b[0m" in shown
    assert "✅ great" in shown
    assert "\x1b" not in shown.partition("Failures:")[2]


def test_the_summary_of_pytest_has_the_colors_of_pytest(project):
    (project / "tests").mkdir()
    (project / "tests/demo_test.yaml").write_text(SUITE)
    shown = terminal.run(project, "--loom", module="pytest")
    assert f"demo (v1.0.0): 2 tests, {RED}1 fail\x1b[0m, {GREEN}1 pass\x1b[0m" in shown.screen
    off = terminal.run(project, "--loom", "--color=no", module="pytest")
    assert "demo (v1.0.0): 2 tests, 1 fail, 1 pass" in off.screen
    assert "\x1b" not in off.screen


def test_documents_are_not_colored(tmp_path):
    project = make_comparable(tmp_path / "project")
    assert "\x1b" in terminal.run(project, "compare").screen
    for form in ("markdown", "json"):
        assert "\x1b" not in terminal.run(project, "compare", "--format", form).screen


# -- progress


def test_a_run_shows_its_progress_and_leaves_no_remains(tmp_path, server):
    shown = terminal.run(make_slow(tmp_path / "project", server), "run", "demo")
    assert shown.returncode == 0
    lines = [line for line in shown.progress if line.startswith("Transform, evaluate: ")]
    assert lines[0] == "Transform, evaluate: 0/60 records"
    full = re.compile(r"Transform, evaluate: [1-5]\d/60 records · [\d.]+/s · \$0\.00\d+ · \ds left")
    assert any(map(full.fullmatch, lines)), lines
    plain = terminal.run(tmp_path / "project", "run", "demo", stdout=False, stderr=False)
    assert plain.stderr == ""
    assert [line.partition(" ")[0] for line in shown.text.splitlines()] == [
        line.partition(" ")[0] for line in plain.stdout.splitlines()
    ]


@pytest.mark.parametrize("columns", [1, 12, 30, 200])
def test_a_progress_line_never_wraps(tmp_path, server, columns):
    project = make_slow(tmp_path / "project", server, count=20)
    shown = terminal.run(project, "run", "demo", columns=columns)
    widths = {len(line) for line in shown.progress}
    assert all(width < columns for width in widths), widths
    assert widths or columns == 1


def test_an_unknown_price_is_shown_as_unknown(tmp_path, server):
    shown = terminal.run(make_slow(tmp_path / "project", server, prices=""), "run", "demo")
    assert any(" · cost unknown · " in line for line in shown.progress)
    assert not any("$" in line for line in shown.progress)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["-q"], {}),
        ([], {"stderr": False}),
        ([], {"TERM": "dumb"}),
        (["-q", "--json"], {"stdout": False}),
    ],
)
def test_no_progress_is_shown_if_it_is_not_wanted(tmp_path, server, arguments, options):
    project = make_slow(tmp_path / "project", server, count=20)
    shown = terminal.run(project, "run", "demo", *arguments, **options)
    assert shown.returncode == 0
    assert "\r\x1b[K" not in shown.screen + shown.stderr + shown.stdout
    assert "records ·" not in shown.screen + shown.stderr + shown.stdout


def test_json_shows_progress_on_stderr_only(tmp_path, server):
    project = make_slow(tmp_path / "project", server)
    shown = terminal.run(project, "run", "demo", "--json", stdout=False)
    assert json.loads(shown.stdout)["results"]["records_loaded"] == 60
    assert shown.progress
    assert shown.text == ""


def test_the_extraction_shows_its_progress(tmp_path, server):
    project = make_slow(tmp_path / "project", server, count=200_000)
    shown = terminal.run(project, "run", "demo", "--budget", "0.0000001")
    lines = [line for line in shown.progress if line.startswith("Extract: ")]
    assert any(re.fullmatch(r"Extract: [\d,]+ records · [\d,]+/s", line) for line in lines), lines
    assert "Extract:   ✅ 200,000 records" in shown.text


def test_an_interrupted_run_leaves_no_progress_line(tmp_path, server):
    server.latency = 0.3
    project = make_slow(tmp_path / "project", server, count=200)

    def wait():
        while not server.requests:
            time.sleep(0.05)
        time.sleep(0.5)

    shown = terminal.interrupt(project, "run", "demo", wait=wait)
    assert shown.returncode == 130
    assert shown.progress
    assert f"{YELLOW}warning:\x1b[0m stopping after the calls in flight" in shown.screen
    assert "records ·" not in shown.text
