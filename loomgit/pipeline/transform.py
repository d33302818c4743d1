"""The transform stage: a prompt and a model turn a record into an output, with one repair call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec.structs import replace

from loomgit.domain.answers import ParsedReply
from loomgit.domain.models import CallTotals, Message, PromptRejected, Request
from loomgit.domain.records import Output, RecordFailure
from loomgit.domain.replies import REPAIR
from loomgit.errors import Denied, ModelError, Unrecorded
from loomgit.pipeline.prompt import RenderFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.models import Completion
    from loomgit.domain.ports import Gateway
    from loomgit.domain.records import Record
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.pipeline.output import OutputReader
    from loomgit.pipeline.plan import ModelParameters
    from loomgit.pipeline.prompt import Prompt


class RecordTransformer(Protocol):
    """Turns records into outputs."""

    async def apply(
        self, record: Record, *, sample: int = 0
    ) -> tuple[Output | None, RecordFailure | None]:
        """Return (output, failure); see `Transformer.apply`."""
        ...


@runtime_checkable
class BatchTransformer(RecordTransformer, Protocol):
    """Turns many records into outputs at once, which is faster."""

    async def apply_all(
        self, records: Sequence[Record]
    ) -> Sequence[tuple[Output | None, RecordFailure | None]]:
        """Return (output, failure) for each record; see `Transformer.apply`."""
        ...


class CopyTransformer:
    """Returns the fields of the record as the output, for a pipeline without a transform."""

    async def apply(
        self, record: Record, *, sample: int = 0
    ) -> tuple[Output | None, RecordFailure | None]:
        """Return the output. It never fails."""
        del sample
        return Output(record.input, "", "", cost=0.0, calls=0), None

    async def apply_all(
        self, records: Sequence[Record]
    ) -> list[tuple[Output | None, RecordFailure | None]]:
        """Return the output of each record. It never fails."""
        return [(Output(record.input, "", "", cost=0.0, calls=0), None) for record in records]


class Transformer:
    """Applies one prompt and one model to records. It has no state that depends on a record."""

    def __init__(
        self,
        prompt: Prompt,
        gateway: Gateway,
        sampling: ModelParameters,
        *,
        context: JsonMapping,
        context_field: str | None,
        variables: JsonMapping,
        reader: OutputReader,
        stand_in: Callable[[JsonMapping], str | None] | None = None,
    ) -> None:
        """Create a transformer.

        `stand_in` returns a text for a record. In the cache key, this text replaces the prompt. If
        `stand_in` returns None, the reply is not cached.
        """
        self._prompt = prompt
        self._gateway = gateway
        self._sampling = sampling
        self._context = context
        self._context_field = context_field
        self._variables = variables
        self._reader = reader
        self._stand_in = stand_in

    async def apply(
        self, record: Record, *, sample: int = 0
    ) -> tuple[Output | None, RecordFailure | None]:
        """Return (output, failure). On success, the failure is None.

        On failure, the output is None if no model has replied. If a model gave an unusable reply,
        the output has no fields, but contains the text and the cost of the reply. Raises Denied if
        no call can succeed until the user acts. The caller should then stop.
        """
        try:
            text = self._prompt.render(
                input=record.input, context=self._context_of(record), variables=self._variables
            )
        except RenderFailure as failure:
            return None, RecordFailure("transform", str(failure))
        return await self._ask(text, sample, record)

    def _context_of(self, record: Record) -> JsonMapping:
        if self._context_field is None:
            return self._context
        return {**self._context, self._context_field: record.input.get(self._context_field)}

    async def _ask(
        self, text: str, sample: int, record: Record
    ) -> tuple[Output | None, RecordFailure | None]:
        spent = CallTotals()
        messages: tuple[Message, ...] = (Message("user", text),)
        reply, model, reason = ParsedReply(None), "", ""
        stand_in = None if self._stand_in is None else self._stand_in(record.input)
        for attempt in range(2):
            try:
                completion = await self._gateway.complete(
                    self._request(messages, sample, stand_in if attempt == 0 else None)
                )
            except Denied:
                raise
            except ModelError as error:
                return self._output({}, reply, model, spent), RecordFailure(
                    "transform",
                    error.message,
                    infrastructure=not isinstance(error, PromptRejected),
                    unrecorded=isinstance(error, Unrecorded),
                )
            spent.add(completion)
            reply, model = ParsedReply(None, text=completion.text), completion.model
            if completion.refusal:
                reason = completion.refusal
                break  # the model refuses to answer, so a repair call would not help
            answer = self._reader.read(completion.text)
            reason = self._cut_off(completion) or answer.fault
            reply = answer if answer.text else replace(answer, text=completion.text)
            if answer.value is not None and not reason:
                return self._output(answer.value, reply, model, spent), None
            repair = Message("user", REPAIR.format(fault=answer.fault or "it was cut off"))
            messages = (*messages[:1], Message("assistant", completion.text), repair)
        return self._output({}, reply, model, spent), RecordFailure("transform", reason)

    def _cut_off(self, completion: Completion) -> str:
        """Return the reason why a reply is incomplete, with advice, or "" for a complete reply."""
        if completion.ending == "filter":
            return "the reply was cut off by the provider's content filter"
        if completion.ending != "length":
            return ""
        limit = self._sampling.max_tokens
        where = f"at max_tokens ({limit} tokens)" if limit else "at the length limit of the model"
        if not limit and completion.usage.output:
            where += f" ({completion.usage.output} tokens)"
        return f"the reply was cut off {where}: raise transform.max_tokens"

    def _request(self, messages: tuple[Message, ...], sample: int, stand_in: str | None) -> Request:
        sampling = self._sampling
        return Request(
            model=sampling.model,
            messages=messages,
            temperature=sampling.temperature,
            seed=(sampling.seed or 0) + sample if sample else sampling.seed,
            max_tokens=sampling.max_tokens,
            params=sampling.params,
            schema=self._reader.schema,
            sample=sample,
            stand_in=stand_in,
            cacheable=self._stand_in is None or stand_in is not None,
        )

    def _output(
        self, fields: JsonObject, reply: ParsedReply, model: str, spent: CallTotals
    ) -> Output | None:
        if not spent.calls:
            return None
        return Output(
            fields=fields,
            text=reply.text,
            thinking=reply.thinking,
            model=model,
            usage=spent.usage,
            cost=spent.cost,
            latency=spent.latency,
            calls=spent.made,
            hits=spent.hits,
            cached=spent.cached,
            replaced=spent.replaced,
        )
