"""Broken files: what their authors are shown, to the line, the column and the word.

`broken/*.txt` hold cases `#### id`, a file's text, `====`, and the faults without the path.
"""

import re
from pathlib import Path

import pytest

from loomgit.config.app_dependencies import parse_dependencies
from loomgit.config.app_model import parse_app
from loomgit.config.pipelines import parse_pipeline
from loomgit.config.settings_model import parse_settings
from loomgit.config.suites import parse_suite
from loomgit.errors import ProblemsFound

BROKEN = Path(__file__).parent / "broken"
CASE = re.compile(r"^#### (\w+)\n(.*?)^====\n(.*?)(?=\n\n####|\Z)", re.MULTILINE | re.DOTALL)
PARSERS = {
    "pipelines": (parse_pipeline, "pipelines/faq.yaml"),
    "tests": (parse_suite, "tests/faq_test.yaml"),
    "settings": (parse_settings, ".loom/config.yaml"),
    "apps": (
        lambda text, path: parse_app(text, path, "spam-detector-001"),
        ".loom/loop-apps/spam-detector-001/config.yaml",
    ),
    "dependencies": (parse_dependencies, "dependencies.yaml"),
    "yaml": (parse_pipeline, "pipelines/faq.yaml"),
}


def cases():
    for kind in PARSERS:
        for found in CASE.finditer((BROKEN / f"{kind}.txt").read_text(encoding="utf-8")):
            yield pytest.param(kind, found[2], found[3].strip(), id=f"{kind}-{found[1]}")


CASES = list(cases())


def faults(parse, text, path, **options):
    with pytest.raises(ProblemsFound) as caught:
        parse(text, path, **options)
    assert all(problem.place.path == path for problem in caught.value.problems)
    return "\n".join(str(problem).removeprefix(f"{path}:") for problem in caught.value.problems)


@pytest.mark.parametrize(("kind", "text", "shown"), CASES)
def test_a_broken_file_shows_each_fault_with_its_place(kind, text, shown):
    parse, path = PARSERS[kind]
    assert faults(parse, text, path) == shown


@pytest.mark.parametrize(("kind", "text", "shown"), CASES)
def test_windows_line_ends_and_a_byte_order_mark_move_no_place(kind, text, shown):
    parse, path = PARSERS[kind]
    assert faults(parse, "\ufeff" + text.replace("\n", "\r\n"), path) == shown


def test_there_are_cases_enough():
    kinds = [case.values[0] for case in CASES]
    assert {kind: kinds.count(kind) >= 10 for kind in PARSERS} == dict.fromkeys(PARSERS, True)
    assert len(kinds) >= 120


def test_a_fault_reads_as_an_editor_expects_it():
    text = (BROKEN / "pipelines.txt").read_text(encoding="utf-8")
    broken = next(found[2] for found in CASE.finditer(text) if found[1] == "unknown_gate")
    with pytest.raises(ProblemsFound) as caught:
        parse_pipeline(broken, "pipelines/faq.yaml")
    assert str(caught.value) == (
        "pipelines/faq.yaml:6:5: evaluate.quality_gate: unknown gate 'all_pas'\n"
        "hint: did you mean 'all_pass'?"
    )
    assert caught.value.exit_code == 2


def test_a_control_character_is_named_by_its_number():
    assert faults(parse_pipeline, "name: a\x07b\n", "p") == (
        "1:8: a YAML file cannot contain the character U+0007"
    )


def test_plugins_evaluators_are_known_and_a_near_miss_of_one_is_seen():
    text = (
        "name: faq\nextract: {source: a.csv}\ntransform: {prompt: p.txt}\n"
        "evaluate: [politeness, {type: politenes, config: {any: thing}}]\nload: {destination: b}\n"
    )
    assert faults(parse_pipeline, text, "p", known_evaluators={"politeness"}) == (
        "4:25: evaluate.1.type: unknown evaluator 'politenes'\nhint: did you mean 'politeness'?"
    )


def test_no_text_of_a_secret_is_repeated():
    text = "connections:\n  db: [hunter2]\nmodels:\n  m: {api_key: {hunter2: hunter2}}\n"
    assert "hunter2" not in faults(parse_settings, text, "c")
