"""Criteria for evaluators that call a judge model, and the context that a judge reads.

The context is text that the judge reads together with the output, such as a reference or source
documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from loomgit.domain.passages import show_document
from loomgit.domain.records import EvaluatorFailure
from loomgit.domain.values import as_text
from loomgit.evaluators.field_selector import EXPECTED, EXPECTED_PREFIX, FieldSelector, pick

if TYPE_CHECKING:
    from loomgit.domain.records import EvaluationInput
    from loomgit.domain.values import Json, JsonMapping

ContextReader = Callable[
    ["EvaluationInput"], str | None
]  # returns the text that the judge reads together with the output

# The criteria of the built-in evaluators that use Arbiter's `custom_criteria`. If the pipeline file
# has `criteria` for such an evaluator, Loom appends them to the criteria here.
PRESETS: Mapping[str, str] = {
    "completeness": """\
- Every point of the reference context that matters for the output's purpose is in the output
- Nothing that a reader would need is left out, cut off or only hinted at
- Leaving out what is unimportant, repeated or off the subject costs nothing""",
    "no_hallucination": """\
- Every statement of fact in the output is supported by the reference context
- No name, number, date, quotation or source is invented or altered
- Nothing in the output contradicts the reference context
- An output that says it does not know invents nothing
- A single invented fact makes the score low, however good the rest is""",
    "attribution": """\
- Each claim that comes from the reference context says which source or passage it comes from
- The sources named exist in the reference context and say what they are cited for
- A claim without its source, or with a wrong one, is not met""",
    "tone": """\
- The tone suits the reader and the occasion that the reference context shows
- It is courteous, calm and consistent: neither curt nor effusive, neither slangy nor stiff
- Nothing in it is condescending, alarming or insulting""",
    "conciseness": """\
- The output says what it has to say in as few words as that takes
- It has no repetition, padding, preamble or talk about itself
- Being short does not cost it anything that the reader needs""",
}

DOCUMENTS = (
    *("documents", "retrieved_documents", "passages", "context"),
    *("sources", "source", "document", "article", "transcript"),
)
QUERIES = ("question", "query", "prompt")


def configured(selector: FieldSelector, subject: EvaluationInput) -> str | None:
    """Return the reference as text, or None if the configuration defines no reference.

    Raises EvaluatorFailure if the configured field is missing or null.
    """
    return as_text(selector.reference(subject)) if selector.has_reference else None


def documents(subject: EvaluationInput) -> str | None:
    """Return the text of the first field in DOCUMENTS that has a value in the record, or None."""
    return _first(subject.input, DOCUMENTS)


def source_context(selector: FieldSelector) -> ContextReader:
    """Return a function that reads the source on which an output must be based.

    The source is the configured reference, else the documents in the record, else the record
    without its expected values. The returned function raises EvaluatorFailure if the source is
    empty, because the judge must compare the output with a source.
    """

    def beside(subject: EvaluationInput) -> str:
        text = (
            configured(selector, subject) or documents(subject) or fields(subject, expected=False)
        )
        if not text:
            raise EvaluatorFailure(
                "the record has no source to compare with: configure 'reference_field', or add a "
                "field 'documents' or 'context' to the record"
            )
        return text

    return beside


def fact_context(selector: FieldSelector) -> ContextReader:
    """Return a function that reads the reference text for an output.

    The judge checks the facts in the output against this text. The text is the configured
    reference, else the documents in the record, else the expected value in the record, else the
    other fields of the record. The function returns None for an empty record, and the judge then
    uses its own knowledge.
    """

    def beside(subject: EvaluationInput) -> str | None:
        text = configured(selector, subject) or documents(subject)
        text = text or _first(subject.input, (f"{EXPECTED_PREFIX}{selector.field}", EXPECTED))
        return text or fields(subject, expected=False) or None

    return beside


def question_context(selector: FieldSelector, config: JsonMapping) -> ContextReader:
    """Return a function that returns the question that an output must answer.

    If `query_field` is configured, the question is the field with this name. Otherwise, it is the
    first of these that has a value: the configured reference, a field in QUERIES, the record
    without its expected values.
    """
    query_field = config.get("query_field")

    def beside(subject: EvaluationInput) -> str | None:
        if query_field is not None:
            return as_text(pick(subject.input, str(query_field), "record"))
        text = configured(selector, subject) or _first(subject.input, QUERIES)
        return text or fields(subject, expected=False)

    return beside


def record_context(selector: FieldSelector) -> ContextReader:
    """Return a function that reads the context for the evaluator `custom_criteria`.

    The context is the configured reference, else the record with its expected values.
    """

    def beside(subject: EvaluationInput) -> str | None:
        return configured(selector, subject) or fields(subject, expected=True)

    return beside


def fields(subject: EvaluationInput, *, expected: bool) -> str:
    """Return the non-empty fields of the record as text, with one line `name: value` per field.

    The name is omitted if there is only one field. Fields with expected values are included only
    if `expected` is True.
    """
    shown = {
        name: value
        for name, value in subject.input.items()
        if value not in (None, "") and (expected or not _is_expected(name))
    }
    if len(shown) == 1:
        return as_text(next(iter(shown.values())))
    return "\n".join(f"{name}: {as_text(value)}" for name, value in shown.items())


def _is_expected(name: str) -> bool:
    return name == EXPECTED or name.startswith(EXPECTED_PREFIX)


def _first(record_fields: Mapping[str, Json], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = record_fields.get(name)
        if value not in (None, "", []):
            return _joined(value)
    return None


def _joined(value: Json) -> str:
    """Return the text of a document. The documents of a list are separated by blank lines."""
    return (
        "\n\n".join(map(show_document, value)) if isinstance(value, list) else show_document(value)
    )
