"""Judge: sends a prompt to a model through Loom's gateway, and parses the structured answer."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct, field
from pydantic import BaseModel, ValidationError

from loomgit.domain.answers import read_answer
from loomgit.domain.models import CallTotals, Completion, Message, Request, Usage
from loomgit.domain.records import JudgeFailure
from loomgit.domain.replies import REPAIR, join_faults
from loomgit.errors import ModelError

if TYPE_CHECKING:
    from loomgit.domain.ports import Gateway
    from loomgit.domain.values import JsonObject

Answer = TypeVar("Answer", bound=BaseModel)


class CallLog(Struct):
    """The model calls for one score. `fault` is the error if no call gave a usable answer."""

    completions: list[Completion] = field(default_factory=list)
    fault: ModelError | JudgeFailure | None = None

    @property
    def spent(self) -> CallTotals:
        """The total usage, cost, latency and number of calls."""
        spent = CallTotals()
        for completion in self.completions:
            spent.add(completion)
        return spent


class TokenCounts(Struct, frozen=True):
    """Token usage under the names that Arbiter reads."""

    request_tokens: int
    response_tokens: int
    total_tokens: int
    cached_tokens: int


class JudgeAnswer(Struct, Generic[Answer], frozen=True):
    """The answer of a judge, in the form that Arbiter expects from an agent."""

    output: Answer
    spent: Usage

    def usage(self) -> TokenCounts:
        """Return the token counts of all calls for this answer."""
        spent = self.spent
        return TokenCounts(spent.input, spent.output, spent.total, spent.cached)


class Judge(Generic[Answer]):
    """Requests answers of type `answer` from one model. `instruction` is the system message."""

    def __init__(
        self,
        gateway: Gateway,
        model: str,
        instruction: str,
        answer: type[Answer],
        call_log: CallLog,
    ) -> None:
        self._gateway = gateway
        self._model = model
        self._instruction = instruction
        self._answer = answer
        self._call_log = call_log

    async def run(self, prompt: str) -> JudgeAnswer[Answer]:
        """Request an answer. If the reply does not match the schema, request one correction.

        If the correction does not match either, and a reply came from the cache, the judge starts
        again and bypasses the cache. Otherwise, the cache would return the unusable reply forever.

        Raises ModelError if a call fails, and JudgeFailure if no reply matches the schema. The call
        log stores the error, because Arbiter passes on only the text of the error.
        """
        try:
            return await self._run(prompt)
        except (ModelError, JudgeFailure) as error:
            self._call_log.fault = error
            raise

    async def _run(self, prompt: str) -> JudgeAnswer[Answer]:
        answer = await self._request_answer(prompt, fresh=False)
        if isinstance(answer, str) and any(reply.cached for reply in self._call_log.completions):
            answer = await self._request_answer(prompt, fresh=True)
        if isinstance(answer, str):
            raise JudgeFailure(
                f"the judge {self._model} gave no usable answer: {answer}", self._call_log.spent
            )
        return JudgeAnswer(answer, self._call_log.spent.usage)

    async def _request_answer(self, prompt: str, *, fresh: bool) -> Answer | str:
        """Return the answer, or a text that describes the problem in the last reply.

        Requests at most one correction, and none if the model refuses to answer.
        """
        messages = (Message("system", self._instruction), Message("user", prompt))
        reply = await self._send(messages, fresh=fresh)
        answer = _read(reply, self._answer)
        if isinstance(answer, str) and not reply.refusal:
            repair = Message("user", REPAIR.format(fault=answer))
            turns = (*messages, Message("assistant", reply.text), repair)
            answer = _read(await self._send(turns, fresh=fresh), self._answer)
        return answer

    async def _send(self, messages: tuple[Message, ...], *, fresh: bool) -> Completion:
        request = Request(
            model=self._model,
            messages=messages,
            temperature=0.0,
            schema=_schema(self._answer),
            purpose="evaluate",
            fresh=fresh,
        )
        completion = await self._gateway.complete(request)
        self._call_log.completions.append(completion)
        return completion


def _read(reply: Completion, answer: type[Answer]) -> Answer | str:
    """Return the answer in a reply, or a text that describes the problem."""
    if reply.refusal:
        return reply.refusal
    if reply.ending == "length":
        return f"it was cut off after {reply.usage.output} tokens"
    if reply.ending == "filter":
        return "it was cut off by the provider's content filter"
    return parse(reply.text, answer)


def parse(text: str, answer: type[Answer]) -> Answer | str:
    """Return the answer in the text of a reply, or a text that describes the problem.

    The text may contain the model's reasoning before the answer.
    """

    def fault_of(value: JsonObject) -> str:
        try:
            answer.model_validate(value)
        except ValidationError as error:
            return _describe_errors(error)
        return ""

    result = read_answer(text, fault_of)
    if result.value is None:
        return result.fault or "it holds no JSON object"
    return answer.model_validate(result.value)


def _describe_errors(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        location = ".".join(str(step) for step in problem["loc"])
        problems.append(f"{location}: {problem['msg']}" if location else problem["msg"])
    return join_faults(problems)


@lru_cache(maxsize=32)
def _schema(answer: type[BaseModel]) -> JsonObject:
    return answer.model_json_schema()
