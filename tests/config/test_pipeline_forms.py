"""The forms that a pipeline's values may take, and the one value that each becomes."""

from pathlib import Path

import jsonschema_rs
import pytest

from loomgit.config.pipelines import parse_pipeline
from loomgit.domain.definitions import (
    Alert,
    CacheRule,
    ContextFile,
    Evaluate,
    EvaluatorSpec,
    Extract,
    ExtractiveFallback,
    Fallback,
    Gate,
    HttpOptions,
    Incremental,
    Lag,
    Load,
    Monitoring,
    Retrieve,
    Transform,
)
from loomgit.errors import ProblemsFound

VALID = Path(__file__).parent / "valid"


def pipeline(extract="", transform="", load="", rest=""):
    text = (
        f"name: faq\nextract:\n  source: a.csv\n  {extract}\n"
        f"transform:\n  prompt: p.txt\n  {transform}\n"
        f"load:\n  destination: b.csv\n  {load}\n{rest}\n"
    )
    return parse_pipeline(text, "p.yaml")


def fault(**parts):
    with pytest.raises(ProblemsFound) as caught:
        pipeline(**parts)
    (problem,) = caught.value.problems
    return problem.message


def test_what_is_not_said_is_the_definitions_own_default():
    found = pipeline()
    assert found.extract == Extract("a.csv")
    assert found.transform == Transform(prompt="p.txt")
    assert found.load == Load("b.csv")
    assert found.evaluate == Evaluate()
    assert found.monitoring == Monitoring()
    assert (found.version, found.description, found.max_failure_rate) == (None, None, None)
    assert (found.depends_on, found.tags) == ((), ())


def test_nothing_behind_a_key_is_as_good_as_no_key():
    silent = pipeline(
        extract="key: ~", transform="model: null", load="mode:", rest="evaluate:\nmonitoring: NULL"
    )
    assert silent == pipeline()


def test_every_key_arrives():
    found = parse_pipeline((VALID / "every_key.yaml").read_text(encoding="utf-8"), "p.yaml")
    assert (found.version, found.tags, found.depends_on) == (
        "1.10",
        ("nightly", "2024"),
        ("upstream",),
    )
    assert found.max_failure_rate == 0.2
    assert found.extract == Extract(
        source="https://api.example/items",
        query="SELECT * FROM items WHERE created_at > {{ watermark }}",
        key=("tenant", "id"),
        incremental=Incremental("created_at", Lag(3600.0, is_duration=True), "2025-01-01"),
        http=HttpOptions(
            paginator={"type": "page_number", "base_page": 1},
            data_selector="data.items",
            resolve={"team": {"resource": "teams", "field": "id"}},
            headers={"Authorization": "Bearer ${API_TOKEN}", "X-Version": "2024-07-18"},
            params={
                "since": "2024-07-18",
                "per_page": 100,
                "deep": True,
                "nothing": None,
                "on": "off",
            },
        ),
        limit=10,
        snapshot=True,
    )
    assert found.transform == Transform(
        type="rag",
        prompt="prompts/answer.txt",
        prompt_version="1e3",
        context=(ContextFile("context/terms.md"), ContextFile("context/who@home.md", "v1.5")),
        retrieve=Retrieve(("docs/**/*.md",), 3, "query", "mine"),
        model="gpt-4o-mini",
        model_version="2024-07-18",
        fallback_models=("gpt-4o",),
        temperature=0.0,
        seed=-7,
        max_tokens=256,
        params={"top_p": 0.5},
        output={
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "score": {"type": ["number", "null"]},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["label", "tags"],
        },
        batch_size=10,
        cache=CacheRule(enabled=False, ttl=43200.0, key_fields=("question",)),
    )
    assert found.load == Load(
        destination="sqlite://out.db/answers",
        mode="append",
        on_failure="fallback",
        fallback=Fallback(Transform(prompt="prompts/short.txt", model="small")),
        retries=0,
        include=("question",),
        lineage_columns=True,
        quarantine="file://bad.jsonl",
        schema={"type": "object", "properties": {"label": {"type": "string"}}},
        evolve="add",
        on_rejected="delete",
    )
    assert found.monitoring == Monitoring(
        10.0, 0.5, 0.7, (Alert("latency_sla", 1.5, relative=True, channel="slack"),)
    )
    assert found.evaluate.gate == Gate("weighted", 0.75)
    assert (found.evaluate.batch_threshold, found.evaluate.sample) == (0.95, 0.5)
    assert found.evaluate.model == "gpt-4o"
    assert found.evaluate.evaluators[:5] == (
        EvaluatorSpec("groundedness", "groundedness"),
        EvaluatorSpec("tone_check", "tone", 0.5, 2.0, "Kind"),
        EvaluatorSpec("evals/own.py:judge", "evals/own.py:judge", 0.9, config={"anything": [1, 2]}),
        EvaluatorSpec(
            "semantic",
            "semantic",
            0.9,
            criteria="Same",
            config={"backend": "lexical", "reference": 42},
        ),
        EvaluatorSpec("exact_match", "exact_match", config={"reference": 5, "field": "label"}),
    )
    assert [spec.config for spec in found.evaluate.evaluators[5:]] == [
        {"pattern": "^a+$"},
        {"value": "5"},
        {"schema": {"type": "object", "required": ["label"]}},
        {"field": "score", "min": 0.0, "max": 1.0},
        {"max": 100},
        {"max": 5.0},
        {"max": 0.01},
    ]


@pytest.mark.parametrize(
    ("written", "context", "field"),
    [
        ("{{ docs }}", (), "docs"),
        ("{{docs}}", (), "docs"),
        ('"{{ docs }}"', (), "docs"),
        ("'{{ input.docs }}'", (), "docs"),
        ("a.md", (ContextFile("a.md"),), None),
        ("a.md@v1", (ContextFile("a.md", "v1"),), None),
        ("[a@b.md@HEAD~3]", (ContextFile("a@b.md", "HEAD~3"),), None),
        ("[]", (), None),
    ],
)
def test_context(written, context, field):
    found = pipeline(transform=f"context: {written}").transform
    assert (found.context, found.context_field) == (context, field)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("7d", 604800), ("12h", 43200), ("30s", 30), ("5m", 300), ("1.5h", 5400), ("250ms", 0.25)],
)
def test_durations(written, seconds):
    cache = pipeline(transform=f"cache: {{ttl: {written}}}").transform.cache
    assert cache is not None
    assert cache.ttl == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["7", "0s", "d", "7 d", "-1d", "1y"])
def test_what_is_no_duration(written):
    assert fault(transform=f"cache: {{ttl: {written}}}").startswith(
        "transform.cache.ttl: expected a duration"
    )


def test_a_key_may_be_one_field_or_several():
    assert pipeline(extract="key: id").extract.key == ("id",)
    assert pipeline(extract="key: [a, b]").extract.key == ("a", "b")


def test_concurrency_is_a_number_or_auto():
    assert pipeline(transform="concurrency: 8").transform.concurrency == 8
    assert pipeline(transform="concurrency: auto").transform.concurrency is None


@pytest.mark.parametrize(
    ("written", "gate"),
    [
        ("any_pass", Gate("any_pass")),
        ("{type: majority_pass}", Gate("majority_pass")),
        ("weighted", Gate("weighted", 0.7)),
        ("{type: weighted, threshold: 0.9}", Gate("weighted", 0.9)),
    ],
)
def test_gates_under_evaluate_and_under_load(written, gate):
    inside = pipeline(rest=f"evaluate: {{evaluators: [tone], quality_gate: {written}}}")
    beside = pipeline(load=f"quality_gate: {written}", rest="evaluate: [tone]")
    assert inside.evaluate.gate == beside.evaluate.gate == gate


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("str", {"type": "string"}),
        ("float", {"type": "number"}),
        ("int", {"type": "integer"}),
        ("bool", {"type": "boolean"}),
        ("list", {"type": "array"}),
        ("dict", {"type": "object"}),
        ("integer?", {"type": ["integer", "null"]}),
        ("{enum: [a, 1, on]}", {"enum": ["a", 1, "on"]}),
    ],
)
def test_field_types(written, schema):
    found = pipeline(load=f"schema: {{x: {written}}}").load.schema
    assert found is not None
    assert found["properties"] == {"x": schema}
    jsonschema_rs.validator_for(dict(found))


def test_a_field_may_be_called_type_or_properties():
    found = pipeline(transform="output: {type: string, properties: list}").transform.output
    assert found == {
        "type": "object",
        "properties": {"type": {"type": "string"}, "properties": {"type": "array"}},
        "required": ["type", "properties"],
    }


def test_a_schema_with_references_inside_itself_is_whole():
    written = "{$defs: {a: {type: string}}, properties: {x: {$ref: '#/$defs/a'}}}"
    found = pipeline(transform=f"output: {written}").transform.output
    assert found is not None
    assert jsonschema_rs.is_valid(dict(found), {"x": "text"})
    assert not jsonschema_rs.is_valid(dict(found), {"x": 5})


def test_a_fallback_may_be_a_constant():
    found = pipeline(load="fallback: {value: {label: unknown, score: 0, at: 2024-01-01}}")
    assert found.load.fallback == Fallback(
        value={"label": "unknown", "score": 0, "at": "2024-01-01"}
    )


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("extractive", ExtractiveFallback()),
        ("{type: extractive}", ExtractiveFallback()),
        ("{type: extractive, sentences: ~}", ExtractiveFallback()),
        (
            "{type: extractive, field: body, output: summary, sentences: 2}",
            ExtractiveFallback("body", "summary", 2),
        ),
    ],
)
def test_a_fallback_may_be_extractive(written, found):
    assert pipeline(load=f"fallback: {written}").load.fallback == Fallback(extractive=found)


def test_a_program_needs_no_prompt():
    text = (
        "name: faq\nextract: {source: a.csv}\nload: {destination: b.csv}\n"
        "transform: {type: program, app: spam-detector-001, version: v2}\n"
    )
    found = parse_pipeline(text, "p.yaml").transform
    assert (found.type, found.app, found.version) == ("program", "spam-detector-001", "v2")


@pytest.mark.parametrize("written", ["yes", "on", "True1", "1", "'true'", "[true]"])
def test_only_true_and_false_are_booleans(written):
    assert fault(extract=f"snapshot: {written}").startswith(
        "extract.snapshot: expected true or false, found "
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [("0.0", 0.0), ("1", 1.0), ("1e-1", 0.1), ("+.5", 0.5), ("0x10", 16.0), ("2.", 2.0)],
)
def test_numbers(written, value):
    assert pipeline(transform=f"temperature: {written}").transform.temperature == value


@pytest.mark.parametrize("written", ["1_0", "'1'", "1,5", ".inf", ".nan", "1e999", "--1", "1:30"])
def test_what_is_no_number(written):
    assert fault(transform=f"temperature: {written}").startswith(
        "transform.temperature: expected a number of at least 0, found "
    )


@pytest.mark.parametrize("written", ["1e999", "-.inf", ".NaN", "9223372036854775808", "1" * 5000])
def test_free_values_hold_what_json_can_hold(written):
    assert "cannot store the number" in fault(transform=f"params: {{x: {written}}}")


def test_free_values_are_typed_late_and_by_the_core_schema():
    written = "{a: yes, b: 010, c: 0o10, d: 1_0, e: '5', f: 1.10, g: ~, h: 12:30:00, i: TRUE}"
    assert pipeline(transform=f"params: {written}").transform.params == {
        "a": "yes",
        "b": 10,
        "c": 8,
        "d": "1_0",
        "e": "5",
        "f": 1.1,
        "g": None,
        "h": "12:30:00",
        "i": True,
    }


@pytest.mark.parametrize("name", ["faq", "faq-2", "a.b", "übersetzung", "2024", "_x"])
def test_names(name):
    text = (
        f"name: {name}\nextract: {{source: a}}\ntransform: {{prompt: p}}\nload: {{destination: b}}"
    )
    assert parse_pipeline(text, "p.yaml").name == name


@pytest.mark.parametrize("name", ["a/b", "a b", ".a", "-a", "a:b", "a+", "a\\b", "a,b", "'*'"])
def test_what_is_no_name(name):
    text = (
        f"name: {name}\nextract: {{source: a}}\ntransform: {{prompt: p}}\nload: {{destination: b}}"
    )
    with pytest.raises(ProblemsFound, match="is not a valid name"):
        parse_pipeline(text, "p.yaml")


def test_a_pipeline_shows_no_more_of_itself_than_its_values():
    assert "Place(" not in repr(pipeline())
    assert pipeline() == pipeline(rest="# another comment\n\n")


def test_a_comparison_may_leave_its_reference_to_the_records_expected_field():
    pipeline = parse_pipeline(
        "name: faq\nextract: {source: a.csv}\ntransform: {prompt: p.txt}\n"
        "evaluate: [exact_match, contains, numeric]\nload: {destination: b.csv}\n",
        "pipelines/faq.yaml",
    )
    assert [spec.type for spec in pipeline.evaluate.evaluators] == [
        "exact_match",
        "contains",
        "numeric",
    ]
