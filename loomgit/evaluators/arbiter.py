"""Adapter for Arbiter, a library of evaluators that call a model. Only this module imports Arbiter.

Arbiter's evaluators judge the outputs, and Loom's gateway calls the model for them. Arbiter is
imported when the first output is judged, because the import takes seconds.
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

from loomgit.domain.models import Message, Request
from loomgit.domain.ports import Gateway
from loomgit.domain.quiet_imports import import_quietly
from loomgit.domain.records import EvaluationInput, EvaluatorFailure, Score
from loomgit.domain.values import as_text
from loomgit.errors import UserError
from loomgit.evaluators.deterministic import FACTORIES
from loomgit.evaluators.judge import CallLog, Judge

if TYPE_CHECKING:
    from loomgit.domain.values import Json
    from loomgit.evaluators.criteria import ContextReader

LOGGERS = ("arbiter", "arbiter_ai", "LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
# Maps each deterministic evaluator to its main option. If Arbiter passes a criteria text to the
# evaluator, this text becomes the value of the main option.
MAIN_OPTIONS = {"contains": "value", "regex": "pattern", "json_schema": "schema"}
_loading_lock = threading.Lock()
_loaded: list[_Arbiter] = []


class _Arbiter(Struct, frozen=True):
    """The imported module of Arbiter, and a function that creates clients.

    `client` takes a gateway, a model and a call log. It returns a client that calls this gateway.
    """

    module: ModuleType
    client: Callable[[Gateway, str, CallLog], object]


class JudgedEvaluator(Struct, frozen=True):
    """Judges outputs with one of Arbiter's evaluators, which calls the model through `gateway`.

    `kind` is the name of the evaluator in Arbiter, and `judge` is the model. `read` returns two
    texts: the output, and the context that the judge reads with the output (can be None).
    """

    kind: str
    judge: str
    gateway: Gateway
    threshold: float
    criteria: str | None
    read: Callable[[EvaluationInput], tuple[str, str | None]]

    @property
    def waits(self) -> bool:
        """True, because each score needs a reply of the judge."""
        return True

    async def score(self, subject: EvaluationInput) -> Score:
        """Judge one output. The score contains tokens, cost and latency from Loom's gateway.

        Raises EvaluatorFailure if the output cannot be judged, for example because a field is
        missing. Raises JudgeFailure if the judge gives no usable answer, and ModelError if a model
        call fails.
        """
        output, beside = self.read(subject)
        arbiter = await _arbiter()
        call_log = CallLog()
        try:
            result = await arbiter.module.evaluate(
                output=output,
                reference=beside,
                criteria=self.criteria,
                evaluators=[self.kind],
                llm_client=arbiter.client(self.gateway, self.judge, call_log),
                model=self.judge,
                threshold=self.threshold,
            )
        except arbiter.module.ArbiterError as error:
            failure = EvaluatorFailure(f"{self.kind}: {_one_line(error)}", call_log.spent)
            raise (call_log.fault or failure) from error
        (judged,) = result.scores
        spent = call_log.spent
        return Score(
            value=judged.value,
            reason=str(judged.explanation or "").strip(),
            judge=call_log.completions[-1].model,
            usage=spent.usage,
            cost=spent.cost,
            calls=spent.made,
            hits=spent.hits,
            latency=spent.latency,
        )


def combine_readers(
    output: Callable[[EvaluationInput], Json], beside: ContextReader
) -> Callable[[EvaluationInput], Any]:
    """Return a function that reads two texts for a judge: the output, and the context (or None).

    `output` reads the output, and `beside` reads the context.
    """

    def read(subject: EvaluationInput) -> tuple[str, str | None]:
        return as_text(output(subject)), beside(subject)

    return read


def load_arbiter() -> ModuleType:
    """Import Arbiter, and register Loom's deterministic evaluators in Arbiter.

    The import prints no warnings and does not use the network. The first call takes seconds.
    """
    return _load().module


async def _arbiter() -> _Arbiter:
    # The import takes seconds. It runs in a thread, because on the event loop it would block
    # pending calls, and these calls could time out.
    return _loaded[0] if _loaded else await asyncio.to_thread(_load)


def _load() -> _Arbiter:
    with _loading_lock:
        if not _loaded:
            module = import_quietly("arbiter_ai", LOGGERS)
            register(module)
            _loaded.append(_Arbiter(module, _client_class(module)))
        return _loaded[0]


def _client_class(arbiter: ModuleType) -> Callable[[Gateway, str, CallLog], object]:
    """Return a subclass of Arbiter's client that overrides the two methods that call a model."""
    responses = importlib.import_module("arbiter_ai.core.llm_client")

    base: Any = arbiter.LLMClient

    class GatewayClient(base):  # type: ignore[misc]  # the base class is known only after the import
        """Calls a model through Loom's gateway and records the calls."""

        def __init__(self, gateway: Gateway, model: str, call_log: CallLog) -> None:
            super().__init__(
                provider=arbiter.Provider.OPENAI, model=model, temperature=0.0, api_key="unused"
            )
            self._gateway = gateway
            self._call_log = call_log

        def create_agent(self, system_prompt: str, result_type: type[Any]) -> Judge[Any]:
            """Return a judge that calls Loom's gateway, in place of Arbiter's own agent."""
            return Judge(self._gateway, self.model, system_prompt, result_type, self._call_log)

        async def complete(self, messages: list[dict[str, Any]], **_: object) -> object:
            """Return a plain reply. Arbiter calls this method if the answer has no schema."""
            turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
            request = Request(self.model, turns, temperature=0.0, purpose="evaluate")
            completion = await self._gateway.complete(request)
            self._call_log.completions.append(completion)
            counts = {
                "prompt_tokens": completion.usage.input,
                "completion_tokens": completion.usage.output,
                "total_tokens": completion.usage.total,
            }
            return responses.LLMResponse(
                content=completion.text, usage=counts, model=completion.model
            )

    return GatewayClient


def register(arbiter: ModuleType) -> None:
    """Register the deterministic evaluators of Loom whose names Arbiter does not have yet."""
    for name in FACTORIES:
        if name not in arbiter.AVAILABLE_EVALUATORS:
            arbiter.register_evaluator(name, _adapter(arbiter, name))


def _adapter(arbiter: ModuleType, kind: str) -> type:
    base: Any = arbiter.BaseEvaluator

    class Adapter(base):  # type: ignore[misc]  # the base class is known only after the import
        """Makes one of Loom's deterministic evaluators usable as an evaluator of Arbiter."""

        @property
        def name(self) -> str:
            """The name of the evaluator in Arbiter's registry."""
            return kind

        async def evaluate(
            self, output: str, reference: str | None = None, criteria: str | None = None
        ) -> object:
            """Score `output`. Raises Arbiter's EvaluatorError if the output cannot be scored.

            `criteria` is the evaluator's config as JSON, or the value of its main option.
            """
            fields: dict[str, Json] = {} if reference is None else {"expected": reference}
            try:
                score = FACTORIES[kind](_config(kind, criteria))(EvaluationInput(fields, output))
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


def _one_line(error: Exception) -> str:
    """Return the text of an error on one line.

    For Arbiter's errors, this is `message`, because `str(error)` also contains technical details.
    """
    return " ".join(str(getattr(error, "message", error)).split())
