"""Definitions that were parsed before: found again, never in place of what is there now."""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.config import parse_cache
from loomgit.config.parse_cache import ParseCache
from loomgit.config.pipelines import parse_pipeline
from loomgit.config.settings_model import parse_settings
from loomgit.config.suites import parse_suite
from loomgit.domain.definitions import FrontMatter
from loomgit.domain.suites import Suite
from loomgit.errors import ProblemsFound

PIPELINE = """\
name: faq
extract: {source: a, key: id}
transform:
  prompt: p
  context: [context/a.yaml]
  output: {answer: {type: string}, score: number}
evaluate:
  evaluators: [{name: s, type: exact_match, config: {field: answer}, threshold: 0.5}]
  quality_gate: all_pass
load: {destination: b, on_failure: retry}
"""
SUITE = """\
pipeline: faq
unit_tests:
  - {name: a, input: {q: x}, assertions: ["output.answer == 'b'", "score.s >= 0.5"]}
distributional_tests:
  - {name: rate, type: statistical, assertions: ["mean(evaluation_scores) > 0.8"]}
"""
SETTINGS = """\
connections: {db: "postgresql://x:${PASSWORD}@h/d"}
models: {m: {base_url: "http://127.0.0.1:1", input_price: 0.15}}
"""
PATH = "pipelines/faq.yaml"
ROOT = Path(__file__).parents[2]


def test_what_is_kept_equals_what_is_parsed(tmp_path):
    keeping, finding = ParseCache(tmp_path / "x"), ParseCache(tmp_path / "x")
    for again in (keeping, finding):
        assert again.pipeline(PIPELINE, PATH, ()) == parse_pipeline(PIPELINE, PATH)
        assert again.suite(SUITE, "tests/a_test.yaml", ()) == parse_suite(
            SUITE, "tests/a_test.yaml"
        )
        assert again.settings(SETTINGS, "c.yaml") == parse_settings(SETTINGS, "c.yaml")
        assert again.front_matter("id: x\nmodel: y\n", "p.txt").id == "x"
    assert len(list((tmp_path / "x").iterdir())) == 4


def test_every_entry_of_the_examples_can_be_loaded(tmp_path):
    """An entry that cannot be loaded makes each command parse its file again."""
    cache = ParseCache(tmp_path / "x")
    every_kind = (ROOT / "tests/config/valid/all_kinds_of_tests.yaml").read_text(encoding="utf-8")
    cache.suite(every_kind, "every_test.yaml", ())
    suite = (ROOT / "tests/customer_sentiment_test.yaml").read_text(encoding="utf-8")
    cache.suite(suite, "tests/customer_sentiment_test.yaml", ())
    entries = list((tmp_path / "x").iterdir())
    assert entries
    for entry in entries:
        loaded = parse_cache._DefinitionUnpickler(io.BytesIO(entry.read_bytes())).load()
        assert isinstance(loaded, Suite)


def test_what_was_parsed_once_loads_no_parser_again(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from loomgit.config.parse_cache import ParseCache\n"
        f"kept = ParseCache(Path({str(tmp_path / 'x')!r}))\n"
        f"assert kept.pipeline({PIPELINE!r}, {PATH!r}, ()).name == 'faq'\n"
        f"assert kept.suite({SUITE!r}, 't.yaml', ()).pipeline == 'faq'\n"
        f"assert kept.settings({SETTINGS!r}, 'c.yaml').connections\n"
        "print(sorted({'yaml', 'pydantic', 'jsonschema_rs', 'litellm'} & set(sys.modules)))\n"
    )
    said = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert "'pydantic', 'yaml'" in said[0].stdout
    assert said[1].stdout == "[]\n"


def test_another_text_or_another_path_is_parsed_anew(tmp_path):
    kept = ParseCache(tmp_path)
    kept.pipeline(PIPELINE, PATH, ())
    assert kept.pipeline(PIPELINE.replace("source: a", "source: z"), PATH, ()).extract.source == "z"
    assert kept.pipeline(PIPELINE, "pipelines/other.yaml", ()).path == "pipelines/other.yaml"


def test_a_fault_is_told_each_time(tmp_path):
    for _ in range(2):
        with pytest.raises(ProblemsFound, match="unknown gate"):
            ParseCache(tmp_path).pipeline(PIPELINE.replace("all_pass", "all_pas"), PATH, ())
    assert list(tmp_path.iterdir()) == []


def test_what_a_plugin_decides_is_not_kept(tmp_path):
    text = PIPELINE.replace("exact_match", "politeness")
    assert ParseCache(tmp_path).pipeline(text, PATH, {"politeness"}).evaluate.evaluators
    with pytest.raises(ProblemsFound, match="unknown evaluator 'politeness'"):
        ParseCache(tmp_path).pipeline(text, PATH, ())


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x80", b"not a pickle", pickle.dumps(os.getcwd), pickle.dumps(subprocess.Popen)],
)
def test_a_damaged_or_hostile_entry_counts_as_none(tmp_path, damage):
    ParseCache(tmp_path).pipeline(PIPELINE, PATH, ())
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage)
    assert ParseCache(tmp_path).pipeline(PIPELINE, PATH, ()) == parse_pipeline(PIPELINE, PATH)
    assert pickle.loads(entry.read_bytes()) == parse_pipeline(PIPELINE, PATH)  # mended


def test_an_entry_cannot_name_code_to_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    ParseCache(tmp_path / "x").pipeline(PIPELINE, PATH, ())
    (entry,) = (tmp_path / "x").iterdir()
    entry.write_bytes(pickle.dumps(Hostile()))
    assert ParseCache(tmp_path / "x").pipeline(PIPELINE, PATH, ()).name == "faq"
    assert not (tmp_path / "owned").exists()


def test_only_the_owner_can_read_what_is_kept(tmp_path):
    ParseCache(tmp_path).settings(SETTINGS, "c.yaml")
    (entry,) = tmp_path.iterdir()
    assert entry.stat().st_mode & 0o077 == 0


def test_the_folder_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(parse_cache, "MAX_ENTRIES", 10)
    for number in range(25):
        ParseCache(tmp_path).front_matter(f"id: p{number}\n", "p.txt")
    assert len(list(tmp_path.iterdir())) <= 10


def test_where_nothing_can_be_kept_everything_is_parsed(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file" / "x"):
        assert ParseCache(folder).pipeline(PIPELINE, PATH, ()).name == "faq"


def test_no_front_matter_needs_no_parser(tmp_path):
    assert ParseCache(tmp_path).front_matter(" \n", "p.txt") == FrontMatter()
    assert list(tmp_path.iterdir()) == []


def test_a_compiled_module_does_not_change_the_keys(monkeypatch, tmp_path):
    for package in ("config", "domain"):
        (tmp_path / package / "__pycache__").mkdir(parents=True)
        (tmp_path / package / "model.py").write_text("", "utf-8")
    monkeypatch.setattr(parse_cache, "PACKAGE", tmp_path)
    before = parse_cache._parser_state.__wrapped__()
    os.utime(tmp_path / "config" / "__pycache__", (1, 1))
    assert parse_cache._parser_state.__wrapped__() == before
    os.utime(tmp_path / "domain" / "model.py", (1, 1))
    assert parse_cache._parser_state.__wrapped__() != before
