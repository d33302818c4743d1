"""What the judged evaluators are told, and what of a record they see beside the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from loomgit.domain.passages import show_document
from loomgit.domain.ports import EvaluatorFailure
from loomgit.domain.values import as_text
from loomgit.evaluators.aim import EXPECTED, PREFIX, Aim, pick

if TYPE_CHECKING:
    from loomgit.domain.records import Subject
    from loomgit.domain.values import Json, JsonMapping

Beside = Callable[["Subject"], str | None]  # what the judge reads beside the output

# Written criteria of the presets; a pipeline's own `criteria` are added to them.
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


def configured(aim: Aim, subject: Subject) -> str | None:
    """The reference that the configuration names, None where it names none."""
    return as_text(aim.reference(subject)) if aim.has_reference else None


def documents(subject: Subject) -> str | None:
    """The documents that the record brings, None where it brings none."""
    return _first(subject.input, DOCUMENTS)


def source(aim: Aim) -> Beside:
    """What an output must be grounded in: as configured, else documents, else the record itself.

    What the record expects is no source. Raises EvaluatorFailure where nothing is left: a judge
    asked about an empty source would judge the question.
    """

    def beside(subject: Subject) -> str:
        text = configured(aim, subject) or documents(subject) or fields(subject, expected=False)
        if not text:
            raise EvaluatorFailure(
                "there is nothing to compare with: configure 'reference_field', or give the record "
                "a field 'documents' or 'context'"
            )
        return text

    return beside


def facts(aim: Aim) -> Beside:
    """What facts are checked against: as configured, else documents, else what is expected, else
    the record itself. The judge's own knowledge never decides, unless the record is empty."""

    def beside(subject: Subject) -> str | None:
        found = configured(aim, subject) or documents(subject)
        found = found or _first(subject.input, (f"{PREFIX}{aim.field}", EXPECTED))
        return found or fields(subject, expected=False) or None

    return beside


def question(aim: Aim, config: JsonMapping) -> Beside:
    """What an output must answer: `query_field`, else as configured, else the record's question,
    else the record itself."""
    query_field = config.get("query_field")

    def beside(subject: Subject) -> str | None:
        if query_field is not None:
            return as_text(pick(subject.input, str(query_field), "record"))
        found = configured(aim, subject) or _first(subject.input, QUERIES)
        return found or fields(subject, expected=False)

    return beside


def record(aim: Aim) -> Beside:
    """What a judge of free criteria sees: as configured, else the whole record."""

    def beside(subject: Subject) -> str | None:
        return configured(aim, subject) or fields(subject, expected=True)

    return beside


def fields(subject: Subject, *, expected: bool) -> str:
    """The record's fields, one a line; the only one stands for itself."""
    shown = {
        name: value
        for name, value in subject.input.items()
        if value not in (None, "") and (expected or not _is_expected(name))
    }
    if len(shown) == 1:
        return as_text(next(iter(shown.values())))
    return "\n".join(f"{name}: {as_text(value)}" for name, value in shown.items())


def _is_expected(name: str) -> bool:
    return name == EXPECTED or name.startswith(PREFIX)


def _first(record_fields: Mapping[str, Json], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = record_fields.get(name)
        if value not in (None, "", []):
            return _joined(value)
    return None


def _joined(value: Json) -> str:
    """Documents one after the other, with a line between them."""
    return (
        "\n\n".join(map(show_document, value)) if isinstance(value, list) else show_document(value)
    )
