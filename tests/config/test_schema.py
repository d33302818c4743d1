"""The exported JSON Schemas say what the parsers say, as far as a schema can."""

from pathlib import Path

import jsonschema_rs
import orjson
import pytest

from loomgit.config.app_dependencies import parse_dependencies
from loomgit.config.app_model import parse_app
from loomgit.config.pipelines import parse_pipeline
from loomgit.config.scalars import read_json
from loomgit.config.schema import KINDS, json_schema
from loomgit.config.settings_model import parse_settings
from loomgit.config.suites import parse_suite
from loomgit.config.yaml_text import parse_yaml
from loomgit.errors import ProblemsFound

VALID = Path(__file__).parent / "valid"


def parse_app_file(text, path):
    """Parse the file of an app, whose id is in the file."""
    tree = parse_yaml(text, path).tree
    return parse_app(text, path, tree.get("id") or tree.get("loop_app_id") or "no-id")


PARSERS = {
    "pipeline": parse_pipeline,
    "test": parse_suite,
    "config": parse_settings,
    "app": parse_app_file,
    "dependencies": parse_dependencies,
}
VALIDATORS = {kind: jsonschema_rs.validator_for(json_schema(kind)) for kind in KINDS}
SHORT = "name: faq\nextract: {source: a}\ntransform: {prompt: p}\nload: {destination: b}\n"
FREE = {
    *("params", "resolve", "headers", "paginator", "output", "schema", "input", "expected"),
    *("connections", "channels", "value", "anything", "vars", "input_schema", "output_schema"),
}


def examples():
    for path in sorted(VALID.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if path.stem == "evaluators":
            text = SHORT + "evaluate:\n  " + text.replace("\n", "\n  ")
        if path.stem in ("distributional_tests", "integration_tests"):
            text = "pipeline: faq\n" + text
        kind = "test" if "_tests:" in text else "config" if path.stem == "settings" else "pipeline"
        kind = {"app": "app", "dependencies": "dependencies"}.get(path.stem.split("_")[0], kind)
        yield pytest.param(kind, text, id=path.stem)


EXAMPLES = list(examples())


def as_json(text):
    """The file as an editor with YAML 1.2 sees it."""
    return read_json(parse_yaml(text, "f").tree)


def keys(tree, path=()):
    """Every key that a model reads, with the maps above it."""
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from keys(item, (*path, index))
    elif isinstance(tree, dict):
        own = tree.get("type", "") if path[-1:] != ("config",) else ""
        for key, value in tree.items():
            named = path[-1:] in (("models",), ("targets",))  # the keys are the user's own
            if not named:
                yield (*path, key)
            if key not in FREE and not (key == "config" and ".py:" in str(own)):
                yield from keys(value, (*path, key))


def misspell(tree, path):
    """A copy of `tree` with the last key of `path` misspelt, which must be the only change."""
    if isinstance(tree, list):
        return [misspell(v, path[1:]) if i == path[0] else v for i, v in enumerate(tree)]
    if len(path) > 1:
        return {k: misspell(v, path[1:]) if k == path[0] else v for k, v in tree.items()}
    return {(f"{k}_x" if k == path[0] else k): v for k, v in tree.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_valid_and_knows_its_draft(kind):
    schema = json_schema(kind)
    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"].startswith("Loom ")


@pytest.mark.parametrize("kind", KINDS)
def test_editors_have_help_for_the_keys(kind):
    properties = json_schema(kind)["properties"]
    silent = [key for key, value in properties.items() if "description" not in str(value)]
    assert set(silent) <= {"name", "description", "tags", "evaluate", "monitoring", "defaults"} | {
        *("extract", "transform", "load"),  # their $ref has one
        *("unit_tests", "distributional_tests", "integration_tests"),
    }


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_what_loads_passes_the_schema(kind, text):
    PARSERS[kind](text, "f")
    assert [error.message for error in VALIDATORS[kind].iter_errors(as_json(text))] == []


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_each_misspelt_key_fails_both(kind, text):
    tree = as_json(text)
    paths = list(keys(tree))
    assert len(paths) >= 5
    for path in paths:
        wrong = misspell(tree, path)
        assert not VALIDATORS[kind].is_valid(wrong), path
        with pytest.raises(ProblemsFound) as caught:
            PARSERS[kind](orjson.dumps(wrong).decode(), "f")  # JSON is YAML
        unknown = [p.hint for p in caught.value.problems if "unknown key" in p.message]
        assert unknown == [f"did you mean '{path[-1]}'?"], path


@pytest.mark.parametrize(
    "rest",
    [
        "evaluate: [tone, {type: semantic}]",
        "evaluate: {quality_gate: any_pass}",
        "evaluate: {quality_gate: {type: weighted, threshold: 0.5}}",
        "evaluate: [politeness, {type: taste, config: {any: thing}}]",
        "version: 1.10",
        "version: 2024-07-18",
        "tags: [1, two]",
        "monitoring: {cost_budget: 10, alerts: [{type: cost_spike, threshold: 2x, channel: a}]}",
        "monitoring: {latency_sla: {p95: 5s}}",
        "description: ~",
    ],
)
def test_short_forms_pass(rest):
    parse_pipeline(SHORT + rest, "f", known_evaluators={"politeness", "taste"})
    assert VALIDATORS["pipeline"].is_valid(as_json(SHORT + rest))


@pytest.mark.parametrize(
    "rest",
    [
        "evaluate: tone",
        "evaluate: [{type: contains}, [tone]]",
        "evaluate: [{type: tone, threshold: 2}]",
        "evaluate: [{type: contains, config: {valeu: x}}]",
        "evaluate: [{type: numeric, config: {min: low}}]",
        "evaluate: {quality_gate: all_pas}",
        "monitoring: {alerts: [{type: cost_spike, threshold: twice, channel: a}]}",
        "max_failure_rate: 20%",
        "name: a/b",
        "tags: a",
    ],
)
def test_what_does_not_load_does_not_pass_where_a_schema_can_tell(rest):
    text = SHORT.removeprefix("name: faq\n") + rest if "name:" in rest else SHORT + rest
    with pytest.raises(ProblemsFound):
        parse_pipeline(text, "f")
    assert not VALIDATORS["pipeline"].is_valid(as_json(text))


@pytest.mark.parametrize(
    ("written", "passes"),
    [
        ("{label: string, score: float?}", True),
        ("{label: strng}", False),
        ("{type: object, properties: {label: {type: string}}}", True),
        ("{type: string}", True),
        ("{tags: {type: array}}", True),
    ],
)
def test_both_forms_of_an_output_are_told_apart(written, passes):
    text = SHORT.replace("prompt: p", f"prompt: p, output: {written}")
    assert VALIDATORS["pipeline"].is_valid(as_json(text)) is passes
    if passes:
        parse_pipeline(text, "f")
