import asyncio
import json
import logging

import pytest

from loomgit.domain.definitions import CacheRule, EvaluatorSpec
from loomgit.domain.models import Usage
from loomgit.domain.place import Place
from loomgit.domain.records import EvaluationInput, EvaluatorFailure, JudgeFailure
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import Denied, RateLimited, Rejected, Unavailable
from loomgit.evaluators.kinds import JUDGED
from loomgit.evaluators.registry import DETERMINISTIC, build_evaluator
from loomgit.gateway.cache import CacheGateway
from loomgit.gateway.litellm_lane import LiteLlmGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.reply_store import ReplyStore
from tests.servers.openai_server import Hang, Reply, error, scripted

MODEL = "gpt-4o-mini"
GOOD = {"score": 0.85, "confidence": 0.5, "explanation": "Says the same."}

pytestmark = pytest.mark.usefixtures("arbiter")


def gateway(server, **settings):
    url = server if isinstance(server, str) else server.url
    models = {MODEL: ModelSettings(base_url=Secret(url, Place("config.yaml")), **settings)}
    return LiteLlmGateway(models, Prices(models), reveal=str, environment={})


def judge(server, type_, subject, *, criteria=None, threshold=0.7, lane=None, **config):
    """The score by a judge that is reached through a real gateway and a real server."""

    async def run():
        through = lane or gateway(server)
        spec = EvaluatorSpec("mine", type_, threshold=threshold, criteria=criteria, config=config)
        evaluator = build_evaluator(spec, judge=MODEL, gateway=through, root=None)
        try:
            return await evaluator.score(subject)
        finally:
            await through.close()

    return asyncio.run(run())


def prompt(server, call=-1):
    """All that the judge was told in one call."""
    return "\n".join(turn["content"] for turn in server.requests[call]["messages"])


PARIS = EvaluationInput({"expected": "The capital is Paris."}, "Paris is the capital.")
ARTICLE = EvaluationInput(
    {"article": "Rain fell on Oslo.", "expected": "rain"}, {"summary": "Oslo was wet."}
)


def test_the_score_is_the_servers_and_the_account_is_the_gateways(server):
    server.respond = scripted(json.dumps(GOOD))
    server.served = lambda model: f"{model}-2024-07-18"
    server.cached_share = 0.25
    server.latency = 0.05
    score = judge(server, "semantic", PARIS)
    assert (score.value, score.reason) == (0.85, "Says the same.")
    assert score.judge == "gpt-4o-mini-2024-07-18"
    (sent,) = server.requests
    asked = sum((len(turn["content"]) + 3) // 4 for turn in sent["messages"]) + 3
    replied = (len(json.dumps(GOOD)) + 3) // 4
    cached = int(asked * 0.25)
    assert score.usage == Usage(asked, replied, cached)
    assert score.cost == pytest.approx(
        ((asked - cached) * 0.15 + cached * 0.075 + replied * 0.6) / 1e6
    )
    assert score.calls == 1
    assert score.latency >= 0.05


def test_a_judge_is_asked_coolly_and_for_its_form(server):
    judge(server, "semantic", PARIS)
    (sent,) = server.requests
    assert sent["temperature"] == 0
    schema = sent["response_format"]["json_schema"]["schema"]
    assert {"score", "explanation"} <= schema["properties"].keys()


@pytest.mark.parametrize("type_", sorted(JUDGED))
def test_every_judged_type_gives_a_score(server, type_):
    score = judge(
        server, type_, ARTICLE, criteria="Formal", field="summary", reference="Rain in Oslo"
    )
    assert score.value == pytest.approx(0.9)
    assert score.reason
    assert score.judge == MODEL
    assert score.calls == 1
    assert "Oslo was wet." in prompt(server)
    assert "Rain in Oslo" in prompt(server)


def test_semantic_compares_the_field_with_what_is_expected(server):
    subject = EvaluationInput(
        {"expected_label": "good", "id": 1}, {"label": "fine", "why": "secret"}
    )
    judge(server, "semantic", subject)
    assert "good" in prompt(server)
    assert "fine" in prompt(server)
    assert "secret" not in prompt(server)


def test_custom_criteria_come_with_the_record_that_they_are_about(server):
    judge(server, "custom_criteria", ARTICLE, criteria="Accurate, no hallucination")
    assert "Accurate, no hallucination" in prompt(server)
    assert "article: Rain fell on Oslo." in prompt(server)


@pytest.mark.parametrize(
    "type_", ["groundedness", "no_hallucination", "attribution", "completeness"]
)
def test_grounding_is_judged_against_the_documents_and_never_against_the_answer(server, type_):
    documents = EvaluationInput(
        {"question": "Where?", "documents": ["Doc one.", "Doc two."], "expected": "gold"}, "Here."
    )
    judge(server, type_, documents)
    assert "Doc one.\n\nDoc two." in prompt(server)
    assert "gold" not in prompt(server)
    judge(server, type_, EvaluationInput({"review": "Only this.", "expected": "gold"}, "Here."))
    assert "Only this." in prompt(server)
    assert "gold" not in prompt(server)


def test_facts_are_judged_against_the_record_where_there_is_no_reference(server):
    judge(
        server,
        "factuality",
        EvaluationInput({"review": "The river is 90 km long.", "id": 7}, "It is 9."),
    )
    assert "The river is 90 km long." in prompt(server)
    judge(
        server, "factuality", EvaluationInput({"review": "Only this.", "expected": "gold"}, "Here.")
    )
    assert "gold" in prompt(server)
    assert "Only this." not in prompt(server)


def test_grounding_in_nothing_is_refused_without_a_call(server):
    with pytest.raises(EvaluatorFailure, match="no source to compare with"):
        judge(server, "groundedness", EvaluationInput({"expected": "gold"}, "Here."))
    assert server.calls == 0


def test_relevance_is_judged_against_the_question(server):
    subject = EvaluationInput(
        {"id": 7, "question": "Where is it?", "ask": "How far is it?"}, "Here."
    )
    judge(server, "relevance", subject)
    assert "Where is it?" in prompt(server)
    judge(server, "relevance", subject, query_field="ask")
    assert "How far is it?" in prompt(server)
    assert "Where is it?" not in prompt(server)


def test_presets_have_written_criteria_to_which_ones_own_are_added(server):
    judge(server, "tone", ARTICLE, criteria="Speaks to children")
    assert "courteous" in prompt(server)
    assert "- Speaks to children" in prompt(server)


def test_a_fenced_answer_with_prose_around_it_is_read(server):
    server.respond = scripted(
        f"Here you are:\n```json\n{json.dumps(GOOD, indent=1)}\n```\nBye {{}}."
    )
    assert judge(server, "semantic", PARIS).value == 0.85
    assert server.calls == 1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("I think it is fine.", "no JSON object"),
        ('{"score": 7, "explanation": "x"}', "score: Input should be less than or equal to 1"),
        ('{"score": 0.5, "confidence": 0.9, "explanation": "x"}', "require at least one"),
    ],
)
def test_an_answer_that_does_not_fit_is_repaired_once(server, bad, words):
    server.respond = scripted(bad, json.dumps(GOOD))
    score = judge(server, "factuality", ARTICLE)
    assert (score.value, score.calls) == (0.85, 2)
    first, second = server.requests
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2] == {"role": "assistant", "content": bad}
    assert words in second["messages"][3]["content"]
    assert score.usage.output == (len(bad) + 3) // 4 + (len(json.dumps(GOOD)) + 3) // 4


def test_a_second_answer_that_does_not_fit_is_a_failure(server):
    server.respond = lambda request: "I would rather not."
    with pytest.raises(
        JudgeFailure, match="gpt-4o-mini gave no usable answer: it holds no JSON"
    ) as caught:
        judge(server, "semantic", PARIS)
    assert server.calls == caught.value.spent.made == 2


def finished(reason, **message):
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL}
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    return Reply(200, {**body, "choices": [choice], "usage": usage})


@pytest.mark.parametrize(
    ("reply", "words", "calls"),
    [
        (finished("stop", content=None, refusal="Never."), "the model refuses: Never.", 1),
        (finished("content_filter", content=""), "content filter", 1),
        (finished("length", content='{"score": 0'), "it was cut off after 5 tokens", 2),
    ],
)
def test_why_a_judge_gave_no_answer_is_told(server, reply, words, calls):
    server.respond = lambda request: reply
    with pytest.raises(JudgeFailure, match=words) as caught:
        judge(server, "semantic", PARIS)
    assert server.calls == calls
    assert caught.value.spent.usage == Usage(9 * calls, 5 * calls)


class TestKeptReplies:
    """A judge behind the cache of replies, one process after the other."""

    @pytest.fixture
    def judged(self, server, tmp_path):
        def run():
            store = ReplyStore(tmp_path / "responses.sqlite", warn=pytest.fail)
            lane = CacheGateway(gateway(server), store, {"evaluate": CacheRule()})
            return judge(server, "semantic", PARIS, lane=lane)

        return run

    def test_an_unusable_one_is_asked_for_anew_and_the_good_one_is_kept(self, server, judged):
        server.respond = lambda request: "I would rather not."
        with pytest.raises(JudgeFailure):
            judged()
        assert server.calls == 2
        server.respond = lambda request: json.dumps(GOOD)
        score = judged()
        assert (score.value, score.calls, score.hits) == (0.85, 1, 2)
        assert server.calls == 3
        again = judged()
        assert (again.value, again.calls, again.hits, again.cost) == (0.85, 0, 1, 0.0)
        assert server.calls == 3

    def test_a_judge_that_is_still_ill_is_asked_once_more_and_no_further(self, server, judged):
        server.respond = lambda request: "I would rather not."
        for calls in (2, 4, 6):
            with pytest.raises(JudgeFailure):
                judged()
            assert server.calls == calls

    def test_a_repair_that_was_kept_is_replayed_for_nothing(self, server, judged):
        server.respond = scripted("Hm.", json.dumps(GOOD))
        assert judged().calls == 2
        again = judged()
        assert (again.value, again.calls, again.hits) == (0.85, 0, 2)
        assert server.calls == 2


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (error(401, "Incorrect API key"), Denied, "does not accept the key"),
        (error(429, "slow down", None, retry_after="3"), RateLimited, "slow down"),
        (error(429, "over", "insufficient_quota"), Denied, "no quota left"),
        (error(400, "maximum context length is 10"), Rejected, "maximum context length"),
        (error(500, "oops"), Unavailable, "oops"),
    ],
)
def test_a_call_that_fails_comes_out_as_the_gateways_own_error(server, reply, kind, words):
    server.respond = scripted(reply)
    with pytest.raises(kind, match=words) as caught:
        judge(server, "semantic", PARIS)
    assert server.calls == 1
    if kind is RateLimited:
        assert caught.value.retry_after == 3.0


def test_a_judge_that_hangs_is_unavailable(server):
    server.respond = scripted(Hang())
    with pytest.raises(Unavailable, match=r"no reply within 0\.3 s"):
        judge(server, "semantic", PARIS, lane=gateway(server, timeout=0.3))


def test_a_judge_that_is_not_there_is_unavailable():
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        judge("http://127.0.0.1:9/v1", "semantic", PARIS)


def test_a_judge_without_a_key_is_denied_with_the_variables_name():
    lane = LiteLlmGateway({}, Prices({}), reveal=str, environment={})
    with pytest.raises(Denied, match="OPENAI_API_KEY is not set"):
        judge("", "semantic", PARIS, lane=lane)


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (EvaluationInput({"expected": "x"}, "  "), "'output' cannot be empty"),
        (EvaluationInput({"expected": "x"}, "y" * 100_001), "exceeds maximum length"),
        (EvaluationInput({}, "y"), "no reference"),
    ],
)
def test_what_cannot_be_judged_is_a_failure_and_no_call(server, subject, words):
    with pytest.raises(EvaluatorFailure, match=words):
        judge(server, "semantic", subject)
    assert server.calls == 0


def test_judgements_at_once_keep_their_accounts_apart(server):
    server.latency = 0.1
    server.respond = lambda request: json.dumps(
        {**GOOD, "score": 0.1 if "wrong" in request["messages"][1]["content"] else 0.9}
    )

    async def run():
        lane = gateway(server)
        spec = EvaluatorSpec("mine", "semantic")
        evaluator = build_evaluator(spec, judge=MODEL, gateway=lane, root=None)
        subjects = [EvaluationInput({"expected": "x"}, word) for word in ("right", "wrong") * 10]
        scores = await asyncio.gather(*(evaluator.score(subject) for subject in subjects))
        await lane.close()
        return scores

    scores = asyncio.run(run())
    assert [score.value for score in scores] == [0.9, 0.1] * 10
    assert {score.calls for score in scores} == {1}
    assert server.highest == 20


def test_a_cancelled_judgement_ends_at_once(server):
    server.latency = 30.0

    async def run():
        lane = gateway(server)
        evaluator = build_evaluator(
            EvaluatorSpec("m", "semantic"), judge=MODEL, gateway=lane, root=None
        )
        task = asyncio.create_task(evaluator.score(PARIS))
        assert await asyncio.to_thread(server.arrived.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)
        await lane.close()

    asyncio.run(run())


def test_nothing_is_printed_or_logged(server, capfd, caplog):
    server.respond = scripted(error(500, "oops"))
    with caplog.at_level(logging.INFO):
        with pytest.raises(Unavailable):
            judge(server, "semantic", PARIS)
        judge(server, "semantic", PARIS)
    assert "".join(capfd.readouterr()) == ""
    assert [record.name for record in caplog.records if record.name != "asyncio"] == []


def test_deterministic_evaluators_are_arbiters_too(arbiter):
    assert set(arbiter.get_available_evaluators()) >= DETERMINISTIC
    client = object.__new__(arbiter.LLMClient)
    client.model = "none"

    async def run(kind, output, reference=None, criteria=None):
        result = await arbiter.evaluate(
            output=output,
            reference=reference,
            criteria=criteria,
            evaluators=[kind],
            llm_client=client,
        )
        return result.scores[0].value

    assert asyncio.run(run("exact_match", "a", "a")) == 1.0
    assert asyncio.run(run("rouge_l", "a b", "a c")) == 0.5
    assert asyncio.run(run("regex", "a1", criteria=r"\d")) == 1.0
    assert asyncio.run(run("contains", "a1", criteria="2")) == 0.0
    assert asyncio.run(run("length", "abc", criteria='{"max": 2}')) == 0.0
    assert asyncio.run(run("json_schema", "[1]", criteria='{"type": "array"}')) == 1.0
    with pytest.raises(arbiter.EvaluatorError, match="no reference"):
        asyncio.run(run("exact_match", "a"))


def test_the_import_is_lazy_offline_and_leaves_the_environment_as_it_was(fresh_process):
    printed, complaints = fresh_process.communicate(timeout=120)
    assert complaints == ""
    stays = [
        ("EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER", "true"),
        ("PYDANTIC_DISABLE_PLUGINS", "__all__"),
    ]
    assert printed == f"{stays} True\n"
