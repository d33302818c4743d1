import asyncio

import pytest

from loomgit.domain.definitions import EvaluatorSpec, Gate, Load
from loomgit.domain.models import CallTotals, Completion, PromptRejected, Usage
from loomgit.domain.records import EvaluatorFailure, JudgeFailure, Record
from loomgit.errors import Rejected, Unavailable
from loomgit.pipeline.evaluate import Panel
from loomgit.pipeline.output import OutputReader
from loomgit.pipeline.plan import ModelParameters
from loomgit.pipeline.prompt import Prompt
from loomgit.pipeline.run_statistics import RunStatistics
from loomgit.pipeline.sampling import Sampler
from loomgit.pipeline.stages import FailurePolicy, Stages
from loomgit.pipeline.transform import Transformer
from tests.fakes import FakeEvaluator, FakeGateway

SCHEMA = {"type": "object", "required": ["label"]}
SPEC = EvaluatorSpec("quality", "exact_match", threshold=0.5)
BILL = {"usage": Usage(100, 20), "cost": 0.5, "latency": 2.0}


def draw(*answers, judge=1.0, schema=SCHEMA, max_tokens=None):
    """The sample that the answers of a model, one after the other, and of a judge come to; and what
    the model was asked."""
    left = iter(answers)
    gateway = FakeGateway(lambda _: next(left))
    transformer = Transformer(
        Prompt("prompts/p.txt", "{{ input.text }}"),
        gateway,
        ModelParameters("fake", max_tokens=max_tokens),
        context={},
        context_field=None,
        variables={},
        reader=OutputReader(schema),
    )
    panel = Panel([(SPEC, FakeEvaluator(lambda _: judge))], Gate("all_pass"))
    watches = RunStatistics((SPEC,), lambda record: (record.key, "q")).watches
    stages = Stages(transformer, panel, Load("out.jsonl"), FailurePolicy(), watches)
    sampler = Sampler(stages, panel.weights)
    return asyncio.run(sampler.draw(Record(0, "r-1", {"text": "x"}), 0)), gateway.requests


@pytest.mark.parametrize("schema", [SCHEMA, None])
@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            Completion("I will\nnot.", "m", **BILL, ending="refusal"),
            "the model refuses: I will not.",
        ),
        (Completion("", "m", **BILL, ending="filter"), "stopped by the provider's content filter"),
    ],
)
def test_a_refusal_is_the_prompts_fault_and_keeps_its_bill(schema, refused, reason):
    sample, asked = draw(refused, schema=schema)
    assert (sample.trouble, sample.lost, sample.score, sample.passed) == (
        "product",
        False,
        0,
        False,
    )
    assert sample.failure == reason
    assert sample.judgements["quality"].value == 0
    assert (sample.usage, sample.cost, sample.latency) == (Usage(100, 20), 0.5, 2.0)
    assert sample.calls == len(asked) == 1
    assert sample.text == refused.text


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (PromptRejected("m: maximum context length"), "product"),
        (Rejected("m: unknown parameter"), "infrastructure"),
        (Unavailable("m: gone"), "infrastructure"),
    ],
)
def test_a_rejected_request_counts_where_the_prompt_is_to_blame(error, trouble):
    sample, _ = draw(error)
    assert sample.trouble == trouble
    assert sample.score == (0 if trouble == "product" else None)
    assert sample.failure == error.message


@pytest.mark.parametrize(
    ("max_tokens", "reason"),
    [
        (20, "the reply was cut off at max_tokens (20 tokens): raise transform.max_tokens"),
        (
            None,
            "the reply was cut off at the length limit of the model (20 tokens): "
            "raise transform.max_tokens",
        ),
    ],
)
@pytest.mark.parametrize("text", ['{"label": "a', ""])
def test_a_reply_that_was_cut_off_is_told_with_what_to_do(max_tokens, reason, text):
    cut = Completion(text, "m", **BILL, ending="length")
    sample, asked = draw(cut, cut, max_tokens=max_tokens)
    assert (sample.trouble, sample.score, sample.calls) == ("product", 0, 2)
    assert sample.failure == reason
    assert "transform" not in asked[1].messages[-1].content


def test_a_reply_that_reached_its_limit_is_no_answer_though_it_fits():
    cut = Completion('{"label": "a"}', "m", **BILL, ending="length")
    sample, asked = draw(cut, cut)
    assert (sample.trouble, sample.output) == ("product", {})
    assert "That reply cannot be used: it was cut off." in asked[1].messages[-1].content
    sample, _ = draw(cut, '{"label": "b"}')
    assert sample.output == {"label": "b"}


@pytest.mark.parametrize("text", ["Well, ", '{"label": "a"}'])
def test_a_filter_that_cut_a_reply_off_is_named(text):
    cut = Completion(text, "m", **BILL, ending="filter")
    sample, _ = draw(cut, cut)
    assert sample.failure == "the reply was cut off by the provider's content filter"


def test_the_question_that_asks_again_states_the_reason():
    sample, asked = draw('{"label": "a\nb"}', '{"label": "b"}')
    assert sample.output == {"label": "b"}
    reason = "the object is not JSON: a raw line break in a string, JSON has \\n (line 1 of it)"
    assert f"That reply cannot be used: {reason}." in asked[1].messages[-1].content


def test_a_judge_without_an_answer_measured_nothing_and_is_on_the_bill():
    spent = CallTotals(Usage(5, 1), cost=0.25, calls=2)
    sample, _ = draw('{"label": "a"}', judge=JudgeFailure("no usable answer", spent))
    assert (sample.trouble, sample.lost, sample.score) == ("infrastructure", True, None)
    judgement = sample.judgements["quality"]
    assert (judgement.value, judgement.infrastructure) == (None, True)
    assert judgement.reason == "no usable answer"
    assert (sample.cost, sample.judge_cost, sample.calls) == (0.75, 0.25, 3)
    assert sample.usage == Usage(15, 3)


@pytest.mark.parametrize(
    ("failure", "value"),
    [(EvaluatorFailure("it broke"), None), (EvaluatorFailure("no field", product=True), 0.0)],
)
def test_an_evaluator_that_fails_is_no_outage(failure, value):
    sample, _ = draw('{"label": "a"}', judge=failure)
    assert (sample.trouble, sample.lost) == ("", False)
    judgement = sample.judgements["quality"]
    assert (judgement.value, judgement.infrastructure) == (value, False)
