"""The bridge to Arbiter, and its only importer: its evaluators judge, our gateway calls the model.

Arbiter loads when the first output is judged: its import takes seconds and reads `.env` unless told
otherwise.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from loomgit.domain.loading import import_quietly
from loomgit.domain.models import Message, Request
from loomgit.domain.ports import EvaluatorFailure, Gateway
from loomgit.domain.records import Score, Subject
from loomgit.domain.values import as_text
from loomgit.errors import UserError
from loomgit.evaluators.deterministic import MAKERS
from loomgit.evaluators.judge import Judge, Ledger

if TYPE_CHECKING:
    from loomgit.domain.values import Json
    from loomgit.evaluators.criteria import Beside

LOGGERS = ("arbiter", "arbiter_ai", "LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
# Where Arbiter calls a deterministic evaluator, its criteria text is this option of ours.
MAIN_OPTIONS = {"contains": "value", "regex": "pattern", "json_schema": "schema"}
_loading = threading.Lock()
_loaded: list[_Arbiter] = []


class _Arbiter(Struct, frozen=True):
    """Arbiter, loaded; `client` makes the client through which its evaluators reach our gateway."""

    module: ModuleType
    client: Callable[[Gateway, str, Ledger], object]


class JudgedEvaluator(Struct, frozen=True):
    """One of Arbiter's evaluators with its own threshold and criteria, judging through `gateway`.

    `read` gives the text to judge and what the judge sees beside it.
    """

    kind: str
    judge: str
    gateway: Gateway
    threshold: float
    criteria: str | None
    read: Callable[[Subject], tuple[str, str | None]]

    async def score(self, subject: Subject) -> Score:
        """Ask the judge; tokens, cost and latency are those of our gateway.

        Raises EvaluatorFailure where output or reference cannot be judged, JudgeFailure where the
        judge gave no usable answer, and the gateway's own ModelError where a call failed.
        """
        output, beside = self.read(subject)
        arbiter = await _arbiter()
        ledger = Ledger()
        try:
            result = await arbiter.module.evaluate(
                output=output,
                reference=beside,
                criteria=self.criteria,
                evaluators=[self.kind],
                llm_client=arbiter.client(self.gateway, self.judge, ledger),
                model=self.judge,
                threshold=self.threshold,
            )
        except arbiter.module.ArbiterError as error:
            failure = EvaluatorFailure(f"{self.kind}: {_line(error)}", ledger.spent)
            raise (ledger.fault or failure) from error
        (found,) = result.scores
        spent = ledger.spent
        return Score(
            value=found.value,
            reason=str(found.explanation or "").strip(),
            judge=ledger.completions[-1].model,
            usage=spent.usage,
            cost=spent.cost,
            calls=spent.made,
            hits=spent.hits,
            latency=spent.latency,
        )


def reading(output: Callable[[Subject], Json], beside: Beside) -> Callable[[Subject], Any]:
    """How a judged evaluator reads a subject whose output and context are found apart."""

    def read(subject: Subject) -> tuple[str, str | None]:
        return as_text(output(subject)), beside(subject)

    return read


def load_arbiter() -> ModuleType:
    """Import Arbiter, silent and offline, with our evaluators in its registry. Blocks for seconds
    the first time."""
    return _load().module


async def _arbiter() -> _Arbiter:
    # In a thread: on the loop, seconds of import would run calls in flight into their timeouts.
    return _loaded[0] if _loaded else await asyncio.to_thread(_load)


def _load() -> _Arbiter:
    with _loading:
        if not _loaded:
            module = import_quietly("arbiter_ai", LOGGERS)
            register(module)
            _loaded.append(_Arbiter(module, _client_class(module)))
        return _loaded[0]


def _client_class(arbiter: ModuleType) -> Callable[[Gateway, str, Ledger], object]:
    """Arbiter's client with the two methods replaced that call a model."""
    responses = importlib.import_module("arbiter_ai.core.llm_client")

    base: Any = arbiter.LLMClient

    class GatewayClient(base):  # type: ignore[misc]  # known only once it is loaded
        """Calls a model through our gateway, and keeps the account of it."""

        def __init__(self, gateway: Gateway, model: str, ledger: Ledger) -> None:
            super().__init__(
                provider=arbiter.Provider.OPENAI, model=model, temperature=0.0, api_key="unused"
            )
            self._gateway = gateway
            self._ledger = ledger

        def create_agent(self, system_prompt: str, result_type: type[Any]) -> Judge[Any]:
            """A judge in place of Arbiter's agent."""
            return Judge(self._gateway, self.model, system_prompt, result_type, self._ledger)

        async def complete(self, messages: list[dict[str, Any]], **_: object) -> object:
            """A plain reply, for evaluators of Arbiter's that ask without a form."""
            turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
            request = Request(self.model, turns, temperature=0.0, purpose="evaluate")
            done = await self._gateway.complete(request)
            self._ledger.completions.append(done)
            counts = {
                "prompt_tokens": done.usage.input,
                "completion_tokens": done.usage.output,
                "total_tokens": done.usage.total,
            }
            return responses.LLMResponse(content=done.text, usage=counts, model=done.model)

    return GatewayClient


def register(arbiter: ModuleType) -> None:
    """Put the deterministic evaluators into Arbiter's registry, under their names."""
    for name in MAKERS:
        if name not in arbiter.AVAILABLE_EVALUATORS:
            arbiter.register_evaluator(name, _adapter(arbiter, name))


def _adapter(arbiter: ModuleType, kind: str) -> type:
    base: Any = arbiter.BaseEvaluator

    class Adapter(base):  # type: ignore[misc]  # known only once it is loaded
        """A deterministic evaluator under Arbiter's contract."""

        @property
        def name(self) -> str:
            """Its name in Arbiter's registry."""
            return kind

        async def evaluate(
            self, output: str, reference: str | None = None, criteria: str | None = None
        ) -> object:
            """Score `output`; `criteria` is the config as JSON, or its main option as text."""
            fields: dict[str, Json] = {} if reference is None else {"expected": reference}
            try:
                score = MAKERS[kind](_config(kind, criteria))(Subject(fields, output))
            except (EvaluatorFailure, UserError) as error:
                raise arbiter.EvaluatorError(str(error)) from error
            return arbiter.Score(
                name=kind, value=score.value, confidence=1.0, explanation=score.reason
            )

    Adapter.__name__ = Adapter.__qualname__ = f"Loom{kind.title().replace('_', '')}"
    return Adapter


def _config(kind: str, criteria: str | None) -> dict[str, Json]:
    if criteria is None:
        return {}
    option = MAIN_OPTIONS.get(kind)
    try:
        value = json.loads(criteria)
    except ValueError:
        value = criteria
    if option == "schema":
        return {option: value}
    if isinstance(value, dict):
        return value
    return {option: criteria} if option else {}


def _line(error: Exception) -> str:
    """The error's text on one line; Arbiter's `message` leaves out the details that repeat it."""
    return " ".join(str(getattr(error, "message", error)).split())
