"""A judge: one question to a model through the gateway, answered in the form that was asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct, field
from pydantic import BaseModel, ValidationError

from loomgit.domain.answers import read_answer
from loomgit.domain.models import Completion, Message, Request, Spent, Usage
from loomgit.domain.records import JudgeFailure
from loomgit.domain.replies import REPAIR, join_faults
from loomgit.errors import ModelError

if TYPE_CHECKING:
    from loomgit.domain.ports import Gateway
    from loomgit.domain.values import JsonObject

Answer = TypeVar("Answer", bound=BaseModel)


class Ledger(Struct):
    """The calls behind one judgement, and what kept it from an answer."""

    completions: list[Completion] = field(default_factory=list)
    fault: ModelError | JudgeFailure | None = None

    @property
    def spent(self) -> Spent:
        """What all of them came to."""
        spent = Spent()
        for completion in self.completions:
            spent.add(completion)
        return spent


class TokenCounts(Struct, frozen=True):
    """Usage by the names that Arbiter reads."""

    request_tokens: int
    response_tokens: int
    total_tokens: int
    cached_tokens: int


class Judgement(Struct, Generic[Answer], frozen=True):
    """What a judge answered, in the shape that Arbiter takes from an agent."""

    output: Answer
    spent: Usage

    def usage(self) -> TokenCounts:
        """The tokens of all calls behind the answer."""
        spent = self.spent
        return TokenCounts(spent.input, spent.output, spent.total, spent.cached)


class Judge(Generic[Answer]):
    """Asks one model with one instruction for answers of one type."""

    def __init__(
        self, gateway: Gateway, model: str, instruction: str, answer: type[Answer], ledger: Ledger
    ) -> None:
        self._gateway = gateway
        self._model = model
        self._instruction = instruction
        self._answer = answer
        self._ledger = ledger

    async def run(self, prompt: str) -> Judgement[Answer]:
        """Ask, and ask once more where the reply does not fit; and both anew, past the cache, where
        what did not fit was a kept reply, so that a judge's bad day does not stay for ever.

        Raises what the gateway raises, or JudgeFailure where no reply fits; the ledger keeps it,
        since Arbiter passes on no more than its text.
        """
        try:
            return await self._run(prompt)
        except (ModelError, JudgeFailure) as error:
            self._ledger.fault = error
            raise

    async def _run(self, prompt: str) -> Judgement[Answer]:
        answer = await self._converse(prompt, fresh=False)
        if isinstance(answer, str) and any(reply.cached for reply in self._ledger.completions):
            answer = await self._converse(prompt, fresh=True)
        if isinstance(answer, str):
            raise JudgeFailure(
                f"the judge {self._model} gave no usable answer: {answer}", self._ledger.spent
            )
        return Judgement(answer, self._ledger.spent.usage)

    async def _converse(self, prompt: str, *, fresh: bool) -> Answer | str:
        """The answer, repaired once, or what is wrong with it; a refusal is not argued with."""
        messages = (Message("system", self._instruction), Message("user", prompt))
        reply = await self._ask(messages, fresh=fresh)
        answer = _read(reply, self._answer)
        if isinstance(answer, str) and not reply.refusal:
            repair = Message("user", REPAIR.format(fault=answer))
            turns = (*messages, Message("assistant", reply.text), repair)
            answer = _read(await self._ask(turns, fresh=fresh), self._answer)
        return answer

    async def _ask(self, messages: tuple[Message, ...], *, fresh: bool) -> Completion:
        request = Request(
            model=self._model,
            messages=messages,
            temperature=0.0,
            schema=_schema(self._answer),
            purpose="evaluate",
            fresh=fresh,
        )
        completion = await self._gateway.complete(request)
        self._ledger.completions.append(completion)
        return completion


def _read(reply: Completion, answer: type[Answer]) -> Answer | str:
    """The answer in a reply, or what is wrong with it."""
    if reply.refusal:
        return reply.refusal
    if reply.ending == "length":
        return f"it was cut off after {reply.usage.output} tokens"
    if reply.ending == "filter":
        return "it was cut off by the provider's content filter"
    return parse(reply.text, answer)


def parse(text: str, answer: type[Answer]) -> Answer | str:
    """The answer in a reply, behind the thinking; or, as text, what is wrong with it."""

    def fault_of(value: JsonObject) -> str:
        try:
            answer.model_validate(value)
        except ValidationError as error:
            return _faults(error)
        return ""

    found = read_answer(text, fault_of)
    if found.value is None:
        return found.fault or "it holds no JSON object"
    return answer.model_validate(found.value)


def _faults(error: ValidationError) -> str:
    found = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(step) for step in fault["loc"])
        found.append(f"{where}: {fault['msg']}" if where else fault["msg"])
    return join_faults(found)


@lru_cache(maxsize=32)
def _schema(answer: type[BaseModel]) -> JsonObject:
    return answer.model_json_schema()
