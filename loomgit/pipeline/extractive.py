"""The extractive fallback: a summary of sentences from the record's own text, without a model."""
# ruff: noqa: RUF001 - marks that resemble ASCII characters

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.json_schema import compile_schema, describe_faults
from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.values import JsonMapping
from loomgit.errors import UserError
from loomgit.pipeline.output import TEXT_FIELD
from loomgit.pipeline.sentences import split_sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.domain.definitions import ExtractiveFallback
    from loomgit.domain.values import Json, JsonObject

_WORD = re.compile(r"\w+")
# Scripts without spaces between words: Thai to Khmer, Japanese, Chinese. Their terms are pairs of
# characters.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_FULL_WIDTH_ENDS = tuple("。！？｡」』）】")
_PRECISION = 9  # decimals of a score, so that rounding errors do not decide between equal scores
# Keywords of JSON Schema that depend on the text of the summary, which is unknown before the run.
_OF_TEXT = ("minLength", "maxLength", "pattern", "format")


def summarize(text: str, count: int) -> str:
    """Return the `count` most central sentences of the text, in their original order.

    Equal sentences count once. Of sentences with equal scores, the earlier one is used. The result
    is "" if the text has no sentence.
    """
    unique: dict[tuple[str, ...], str] = {}
    for sentence in split_sentences(text):
        unique.setdefault(_fold(sentence), sentence)
    sentences = [*unique.values()]
    scores = centrality(sentences)
    best = sorted(range(len(sentences)), key=lambda index: (-scores[index], index))[:count]
    summary = ""
    for index in sorted(best):
        space = "" if not summary or summary.endswith(_FULL_WIDTH_ENDS) else " "
        summary += space + sentences[index]
    return summary


def centrality(sentences: Sequence[str]) -> list[float]:
    """Return the degree centrality of each sentence: its similarity to all other sentences.

    The similarity of two sentences is the cosine of their vectors. The component of a vector for a
    term is tf * log(N / n), where tf is the number of occurrences in the sentence, N the number of
    sentences, and n the number of sentences with the term. Words that are in most sentences, such
    as articles, therefore have almost no weight in any language.

    The sum of the cosines equals the product of the unit vector of the sentence and the sum of all
    unit vectors, so the time is linear in the length of the text. Source: Erkan and Radev,
    "LexRank: Graph-based Lexical Centrality as Salience in Text Summarization", JAIR 22 (2004),
    sections 3.1 and 3.2, with weighted edges instead of a threshold.
    """
    counts = [Counter(_terms(sentence)) for sentence in sentences]
    occurrences = Counter(term for terms in counts for term in terms)
    vectors = []
    for terms in counts:
        vector = {
            term: tf * math.log(len(sentences) / occurrences[term]) for term, tf in terms.items()
        }
        norm = math.sqrt(math.fsum(weight * weight for weight in vector.values()))
        vectors.append({term: weight / norm for term, weight in vector.items()} if norm else {})
    total: dict[str, float] = {}
    for vector in vectors:
        for term, weight in vector.items():
            total[term] = total.get(term, 0.0) + weight
    return [
        # The similarity of the sentence to itself, 1, is subtracted.
        round(math.fsum(w * total[term] for term, w in vector.items()) - bool(vector), _PRECISION)
        for vector in vectors
    ]


def _fold(sentence: str) -> tuple[str, ...]:
    """Return the words of a sentence without case and punctuation."""
    return tuple(_WORD.findall(sentence.casefold()))


def _terms(sentence: str) -> Iterator[str]:
    for word in _fold(sentence):
        if _UNSPACED.search(word):
            yield from (word[index : index + 2] for index in range(max(len(word) - 1, 1)))
        else:
            yield word


class ExtractiveSummarizer(Struct, frozen=True):
    """Creates the fallback output of a record.

    `field` is the input field with the text; None means the longest text of the record. `output` is
    the output field for the summary, which has at most `sentences` sentences. `others` are the
    other fields of the output. `schema` is the declared output.
    """

    field: str | None
    output: str
    sentences: int
    others: JsonMapping
    schema: JsonMapping | None = None

    def summarize(self, record: JsonMapping) -> JsonObject | None:
        """Return the output for the input fields `record`.

        The result is None if the record has no text, or if the summary does not match the schema.
        """
        values = record.values() if self.field is None else [record.get(self.field)]
        texts = [value for value in values if isinstance(value, str)]
        summary = summarize(max(texts, key=len, default=""), self.sentences)
        fields: JsonObject = {self.output: summary, **self.others}
        if not summary:
            return None
        if self.schema is not None and describe_faults(compile_schema(self.schema), fields):
            return None
        return fields


def make_summarizer(
    fallback: ExtractiveFallback, output: JsonMapping | None, load_schema: JsonMapping | None
) -> ExtractiveSummarizer:
    """Return the summarizer for the declared `output` and `load.schema`.

    The summary goes to the field that the settings name, else to the first field of the declared
    output that accepts any text, else to the field of outputs that are not JSON (`text`). The other
    declared fields are null, or missing if they are optional and do not accept null.

    Raises UserError if no output of this form can match the schemas.
    """
    schemas = [schema for schema in (output, load_schema) if schema is not None]
    properties = [_properties(schema) for schema in schemas]
    names = dict.fromkeys(name for fields in properties for name in fields)
    name = fallback.output or _first_text_field(schemas)
    if name is None:
        message = "the declared output has no field for a text"
        raise UserError(message, hint="add a field of type string, or use another fallback")
    if names and name not in names:
        message = f"the declared output has no field '{name}'"
        raise UserError(message, hint=suggest_or_list(name, names, "it has"))
    sample: JsonObject = {name: "text", **{other: None for other in names if other != name}}
    rejected = {
        str(path[0]) for schema in schemas for path, _, _ in _faults(schema, sample, name) if path
    }
    if name in rejected:
        message = f"the output field '{name}' does not accept every text"
        raise UserError(message, hint="name a field of type string in `output`")
    required = {field for schema in schemas for field in _required(schema)}
    if unfilled := sorted(rejected & required):
        message = (
            f"an extractive fallback has no value for the output field '{unfilled[0]}', which is "
            "required and does not accept null"
        )
        raise UserError(
            message, hint=f"allow null (`{unfilled[0]}: TYPE?`), or use another fallback"
        )
    others: JsonObject = {field: None for field in names if field != name and field not in rejected}
    for schema in schemas:
        for _, _, fault in _faults(schema, {name: "text", **others}, name):
            raise UserError(f"an extractive fallback does not match the output: {fault}")
    return ExtractiveSummarizer(fallback.field, name, fallback.sentences, others, output)


def _first_text_field(schemas: Iterable[JsonMapping]) -> str | None:
    """Return the first field that accepts any text in all schemas that define fields.

    The result is the field `text` if no schema defines fields, and None if no field fits.
    """
    candidates: list[str] | None = None
    for schema in schemas:
        if fields := _properties(schema):
            accepting = [
                name
                for name in fields
                if not any(path for path, _, _ in _faults(schema, {name: "text"}, name))
            ]
            candidates = [name for name in accepting if candidates is None or name in candidates]
    return TEXT_FIELD if candidates is None else next(iter(candidates), None)


def _faults(
    schema: JsonMapping, value: Json, name: str
) -> Iterator[tuple[list[str | int], str, str]]:
    """Yield path, keyword and message of each fault, except those that depend on the summary.

    `name` is the field of the summary.
    """
    for error in compile_schema(schema).iter_errors(value):
        keyword = str(error.schema_path[-1])
        if not (error.instance_path[:1] == [name] and keyword in _OF_TEXT):
            yield error.instance_path, keyword, error.message


def _properties(schema: JsonMapping) -> JsonMapping:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _required(schema: JsonMapping) -> list[str]:
    required = schema.get("required")
    return [str(name) for name in required] if isinstance(required, list) else []
