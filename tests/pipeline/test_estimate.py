import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.runs import Cost, ModelCost
from loomgit.domain.spending import Price, ReplySize
from loomgit.pipeline.estimate import PlannedCall, estimate_stage, example_value, mean_reply_size
from loomgit.pipeline.output import OutputReader
from tests.runs import make_run

CHEAP = Price(1.0, 10.0)


def stage(asked, share=1.0, seen=None, price=CHEAP):
    return estimate_stage(asked, share=share, replies=lambda _: seen, price=lambda *_: price)


def test_a_sample_stands_for_all_records():
    asked = [PlannedCall("m", 100, None, None, False), PlannedCall("m", 300, None, None, False)]
    (found,) = stage(asked, share=500, seen=ReplySize(20.0, "runs", 7, 1))
    assert (found.calls, found.input, found.output) == (1000, 200_000, 20_000)
    assert found.cost == pytest.approx(0.2 + 0.2)
    assert found.reply.basis == "runs"


def test_each_model_has_a_part_of_its_own():
    asked = [PlannedCall(name, 10, 5, None, False) for name in ("b", "a", "b")]
    assert [(part.model, part.calls) for part in stage(asked)] == [("b", 2), ("a", 1)]


@pytest.mark.parametrize(
    ("limit", "schema", "basis", "tokens"),
    [
        (64, {"type": "object"}, "max_tokens", 64),
        (None, {"type": "object", "properties": {"a": {"type": "boolean"}}}, "schema", 2.5),
        (None, None, "guess", 250),
    ],
)
def test_without_earlier_replies_the_limit_then_the_form_says_how_long_they_are(
    limit, schema, basis, tokens
):
    (found,) = stage([PlannedCall("m", 10, limit, schema, False)])
    assert (found.reply.basis, found.reply.tokens) == (basis, tokens)


def test_an_unknown_price_is_no_price():
    (found,) = stage([PlannedCall("m", 10, 5, None, False)], price=None)
    assert found.cost is None


def test_the_price_is_that_of_prompts_so_long():
    told = []
    asked = [PlannedCall("m", 100, 5, None, False), PlannedCall("m", 201, 5, None, False)]
    estimate_stage(asked, share=1.0, replies=lambda _: None, price=lambda *said: told.append(said))
    assert told == [("m", 151)]


def count(stage="transform", asked="m", calls=4, output=80, **more):
    return ModelCost(stage, asked, more.pop("model", asked), calls=calls, output=output, **more)


def run(*models, **cost):
    figures = {"tokens": {"input": 9, "output": 100}, "calls": 10, "cached": 0, "unpriced": 0}
    return make_run(
        cost=Cost(
            0.0, 0.0, {"transform": 0.0, "evaluate": 0.0}, **{**figures, **cost}, models=models
        )
    )


def test_earlier_replies_are_those_of_the_same_stage_and_model():
    runs = [run(count(), count("evaluate"), count(asked="x")), run(count(calls=1, output=120))]
    assert mean_reply_size(runs, "transform", "m") == ReplySize(40.0, "runs", 5, 2)


def test_kept_replies_say_nothing_of_length():
    assert mean_reply_size([run(count(calls=0, hits=9, output=0))], "transform", "m") is None


def test_a_run_without_a_split_counts_where_nothing_was_judged():
    model = "embedded/icl"
    assert mean_reply_size([run()], "transform", model) == ReplySize(10.0, "runs", 10, 1)
    assert mean_reply_size([run()], "evaluate", model) is None
    assert mean_reply_size([run()], "transform", "other") is None


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "boolean"},
            {"type": "null"},
            {"type": ["number", "null"]},
            {"type": "integer", "minimum": 3},
            {"type": "number", "minimum": 0, "maximum": 1},
            {"enum": ["a", "longest", 3]},
            {"const": "x"},
            {"$ref": "#/$defs/part"},
        ]
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.dictionaries(st.sampled_from("abc"), inner).map(
            lambda fields: {"type": "object", "properties": fields, "required": list(fields)}
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("xyz"), SCHEMAS))
def test_what_is_made_up_for_a_schema_fits_it(fields):
    schema = {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "$defs": {"part": {"type": "string"}},
    }
    assert OutputReader(schema).read(json.dumps(example_value(schema))).value == example_value(
        schema
    )
