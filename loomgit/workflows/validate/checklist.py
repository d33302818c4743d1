"""Makes the checklist of `loom validate`: the pipeline file, prompts, context, documents, tests and
connections."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.answers import contains_object
from loomgit.domain.checks import CheckSection, ValidationCheck, ValidationResult
from loomgit.domain.keys import find_key
from loomgit.domain.place import Place, Problem
from loomgit.domain.ports import QueryValues
from loomgit.domain.records import Record, RefusedRow, first_usable, make_record
from loomgit.domain.utc import in_utc
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.retrieval.registry import check_name
from loomgit.rows.address import DATABASE_EXTENSIONS, FORMATS, local_files
from loomgit.rows.spool import FieldNames
from loomgit.wiring.assembly import Assembly
from loomgit.wiring.consistency import find_contradictions, missing_fields, missing_key
from loomgit.wiring.documents import find_documents, read_documents, searching
from loomgit.wiring.unsupported import unsupported, without_execution_date
from loomgit.workflows.validate.cursor_check import check_watermark, open_all_records
from loomgit.workflows.validate.program_check import check_program
from loomgit.workflows.validate.quarantine_check import check_quarantine
from loomgit.workflows.validate.suite_checks import contradictions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.values import Json, JsonMapping, JsonObject
    from loomgit.domain.versions import FileVersion
    from loomgit.wiring.project import Wiring

_MOST_ROWS = 1000  # the maximum number of rows that are read to determine the fields
_OWN_FIELDS = (".json", ".jsonl", ".ndjson")  # each record of such a file may have its own fields
_KEYED = re.compile(r"[\w.]+: ")  # matches messages that start with a key, such as `load.mode: `


class _Report(Struct):
    """The sections of the checklist that are complete so far."""

    sections: list[CheckSection] = field(default_factory=list)
    changeable: bool = False  # true after an error that the user can fix
    unreachable: bool = False  # true after an external error, such as an unreachable server

    def add(self, title: str, checks: Sequence[ValidationCheck]) -> None:
        self.sections.append(CheckSection(title, tuple(checks)))

    def fault(self, text: str, error: LoomError | Sequence[Problem]) -> ValidationCheck:
        if not isinstance(error, LoomError):
            error = ProblemsFound(error)
        self.changeable |= isinstance(error, UserError)
        self.unreachable |= not isinstance(error, UserError)
        hint = f"\nhint: {error.hint}" if error.hint else ""
        return ValidationCheck(text, False, error.message + hint, tuple(error.documents()))


class _Records(Struct, frozen=True):
    """The records of a source, as far as they were read.

    `first` are the first valid records, and `key` are the names of the key fields. `fields` are the
    names of all fields. `filled` are the fields that have a value in at least one record.
    """

    first: tuple[Record, ...]
    key: tuple[str, ...]
    fields: tuple[str, ...]
    filled: frozenset[str]


def validate_pipeline(
    wiring: Wiring,
    name: str,
    *,
    offline: bool,
    variables: Mapping[str, str] | None,
    execution_date: datetime | None,
) -> ValidationResult:
    """Check a pipeline and its tests. If `offline` is false, also check its source and destination.

    `variables` and `execution_date` have the same meaning as for a run. Missing variables are
    reported only if at least one variable is given. Raises UserError if the pipeline does not
    exist.
    """
    assembly = Assembly(wiring)
    report = _Report()
    try:
        pipeline = wiring.catalog.pipeline(name)
    except ProblemsFound as error:
        report.add("Pipeline Definition", _definition(report, error.problems))
        _named_files(assembly, name, report)
        _tests(assembly, name, None, None, report)
        return ValidationResult(name, None, tuple(report.sections))
    merged = assembly.variables(pipeline, variables or {})
    values = QueryValues(in_utc(execution_date or datetime.now(UTC)), None, merged)
    for message in () if offline else without_execution_date(pipeline, execution_date):
        wiring.warn(message)
    output = assembly.declared_output(pipeline)
    connections, records = _connections(
        assembly, pipeline, output, report, offline=offline, values=values
    )
    problems = [
        *unsupported(pipeline, assembly.wiring.connections),
        *assembly.check_evaluators(pipeline),
        *find_contradictions(pipeline, output),
    ]
    if records is not None:
        problems += missing_key(pipeline, records.key, records.fields)
        problems += missing_fields(pipeline, records.fields, records.filled)
    report.add("Pipeline Definition", _definition(report, problems))
    fields = None if records is None else records.fields
    _prompt(assembly, pipeline, fields, merged, report)
    if checks := check_program(assembly, pipeline, records.first if records else (), report.fault):
        report.add("Program", checks)
    _fallback(assembly, pipeline, report)
    _context(assembly, pipeline, report)
    _documents(assembly, pipeline, report)
    _tests(assembly, pipeline.name, pipeline, output, report)
    connections += check_watermark(assembly, pipeline, report.fault, offline=offline)
    connections += check_quarantine(assembly.wiring, pipeline, report.fault, offline=offline)
    report.add("Connections", connections)
    sections = tuple(report.sections)
    world = report.unreachable and not report.changeable
    return ValidationResult(pipeline.name, pipeline.version, sections, unreachable=world)


def _definition(report: _Report, problems: Sequence[Problem]) -> list[ValidationCheck]:
    yaml = [problem for problem in problems if not _KEYED.match(problem.message)]
    keyed = [problem for problem in problems if problem not in yaml]
    evaluators = [p for p in keyed if p.message.startswith("evaluate")]
    fields = [p for p in keyed if p not in evaluators]
    if yaml:
        return [report.fault("YAML syntax valid", yaml)]
    return [
        ValidationCheck("YAML syntax valid"),
        report.fault("Required fields present", fields)
        if fields
        else ValidationCheck("Required fields present"),
        report.fault("Evaluator configs valid", evaluators)
        if evaluators
        else ValidationCheck("Evaluator configs valid"),
    ]


def _fallback(assembly: Assembly, pipeline: Pipeline, report: _Report) -> None:
    """Check that the prompt and context files of `load.fallback` can be read."""
    fallback = pipeline.load.fallback
    if fallback is None or fallback.transform is None or fallback.transform.prompt is None:
        return
    transform, key = fallback.transform, "load.fallback"
    assert transform.prompt is not None
    files = [(f"{key}.prompt", transform.prompt, transform.prompt_version)]
    files += [
        (f"{key}.context.{number}", file.path, file.version)
        for number, file in enumerate(transform.context)
    ]
    checks = []
    for place, path, version in files:
        label = f"{PurePosixPath(path).name} exists"
        try:
            _read(assembly, pipeline, place, path, version)
            checks.append(ValidationCheck(label))
        except LoomError as error:
            checks.append(report.fault(label, error))
    report.add("Fallback", checks)


def _named_files(assembly: Assembly, name: str, report: _Report) -> None:
    """Report the missing files to which an invalid pipeline file refers."""
    problems = [
        Problem(place, f"{key}: {path}: no such file")
        for key, text, place in assembly.wiring.catalog.named_files(name)
        for path in _path_in(key, text)
        if not (assembly.wiring.root / path).exists()
    ]
    if problems:
        report.add("Files", [report.fault("Named files exist", problems)])


def _path_in(key: str, text: str) -> tuple[str, ...]:
    """Return a tuple with the local file to which a setting refers.

    `key` is the name of the setting and `text` its value. The tuple is empty if the value refers to
    a server or a built-in evaluator.
    """
    if key == "extract.source":
        endings = (*FORMATS, *DATABASE_EXTENSIONS)
        return tuple(path for path in local_files(text) if path.lower().endswith(endings))[:1]
    if key.endswith(".type"):
        file, python, _ = text.partition(".py:")
        return (file + ".py",) if python else ()
    return (text,)


def _prompt(
    assembly: Assembly,
    pipeline: Pipeline,
    fields: Sequence[str] | None,
    variables: Mapping[str, Json],
    report: _Report,
) -> None:
    transform = pipeline.transform
    if transform.prompt is None:
        return
    label = PurePosixPath(transform.prompt).name
    try:
        file = _read(
            assembly, pipeline, "transform.prompt", transform.prompt, transform.prompt_version
        )
    except LoomError as error:
        report.add("Prompts", [report.fault(f"{label} exists", error)])
        return
    checks = [ValidationCheck(f"{label} ({file.name}) exists")]
    try:
        prompt = assembly.prompt(file)
    except LoomError as error:
        report.add("Prompts", [*checks, report.fault("Template syntax valid", error)])
        return
    names = [context.name for context in transform.context]
    field = transform.documents_field
    names += [field] if field else []
    if fields is not None and field and transform.retrieve is not None:
        fields = [*fields, field]
    given = variables or [r.name for r in prompt.references if r.root == "vars" and r.name]
    problems = prompt.check(context=names, variables=given, fields=fields)
    resolved = "Context variables resolved"
    checks.append(report.fault(resolved, problems) if problems else ValidationCheck(resolved))
    front = assembly.front_matter(file)
    specified = (
        transform.output or front.output or pipeline.load.schema or contains_object(file.text)
    )
    checks.append(
        ValidationCheck("Output format specified" if specified else "Output format: plain text")
    )
    report.add("Prompts", checks)


def _read(
    assembly: Assembly, pipeline: Pipeline, key: str, path: str, version: str | None
) -> FileVersion:
    """Read the prompt or context file to which the setting `key` refers. Raises ProblemsFound if
    the file is missing or must not be sent to a model."""
    place = pipeline.place(key)
    if reason := assembly.withheld(path, version):
        raise ProblemsFound([Problem(place, reason)])
    try:
        return assembly.wiring.versions.read(path, version)
    except UserError as error:
        raise ProblemsFound([Problem(place, error.message, error.hint)]) from error


def _context(assembly: Assembly, pipeline: Pipeline, report: _Report) -> None:
    checks = []
    for number, file in enumerate(pipeline.transform.context):
        label = PurePosixPath(file.path).name
        try:
            version = _read(
                assembly, pipeline, f"transform.context.{number}", file.path, file.version
            )
        except LoomError as error:
            checks.append(report.fault(f"{label} exists", error))
        else:
            checks.append(ValidationCheck(f"{label} ({version.name}) exists"))
    if checks:
        report.add("Context", checks)


def _documents(assembly: Assembly, pipeline: Pipeline, report: _Report) -> None:
    """Check the retrievers and the documents that they search. Reads every file, and creates no
    index."""
    tree = assembly.wiring.tree
    checks = []
    for key, _, retrieve in searching(pipeline):
        problems: list[Problem] = []
        documents = find_documents(tree, pipeline, key, retrieve, problems)
        text = f"Documents to search: {len(documents):,} found"
        try:
            check_name(retrieve.retriever)
            read_documents(tree, pipeline, key, documents)
        except ProblemsFound as error:
            problems.extend(error.problems)
        except UserError as error:
            place = pipeline.place(f"{key}.retrieve.retriever")
            problems.append(Problem(place, f"{key}.retrieve: {error.message}", error.hint))
        checks.append(report.fault(text, problems) if problems else ValidationCheck(text))
    if checks:
        report.add("Documents", checks)


def _tests(
    assembly: Assembly,
    name: str,
    pipeline: Pipeline | None,
    output: JsonMapping | None,
    report: _Report,
) -> None:
    """Report a pipeline's test files that cannot be read or do not fit the pipeline.

    An unreadable file that names no pipeline is also reported, because it may belong to this
    pipeline. `pipeline` is None if the pipeline file is invalid.
    """
    suites, broken = assembly.wiring.catalog.readable_suites()
    checks = [
        report.fault(f"{PurePosixPath(file.path).name} can be read", file.problems)
        for file in broken
        if file.pipeline in ("", name)
    ]
    for suite in suites:
        if suite.pipeline != name:
            continue
        problems: list[Problem] = []
        if pipeline is not None:
            problems += contradictions(suite, pipeline, output)
        data = suite.dataset
        if data and "://" not in data and not (assembly.wiring.root / data).exists():
            place = suite.places.get("dataset") or Place(suite.path)
            problems.append(Problem(place, f"dataset: {data}: no such file"))
        if problems:
            label = f"{PurePosixPath(suite.path).name} fits the pipeline"
            checks.append(report.fault(label, problems))
    if checks:
        report.add("Tests", checks)


def _connections(
    assembly: Assembly,
    pipeline: Pipeline,
    output: JsonMapping | None,
    report: _Report,
    *,
    offline: bool,
    values: QueryValues,
) -> tuple[list[ValidationCheck], _Records | None]:
    """Return the checks of the source and the destination, and the first records.

    The records are None if the source has no records or cannot be read. If `offline` is true,
    nothing is opened, and the checks have no result.
    """
    source_text = f"Source: {pipeline.extract.source} reachable"
    sink_text = f"Destination: {pipeline.load.destination} writable"
    if offline:
        texts = (source_text, sink_text)
        return [ValidationCheck(f"{text} (not checked)", ok=None) for text in texts], None
    checks = []
    records = None
    try:
        with assembly.reading(pipeline):
            source = open_all_records(assembly, pipeline, values)
            unread: LoomError | None = None
            try:
                records = _inspect_records(pipeline, source.rows())
            except LoomError as error:
                unread = error
            source.check()  # finds errors in the key, even if all records could be read
            if unread is not None:
                raise unread
        checks.append(ValidationCheck(source_text))
    except LoomError as error:
        checks.append(report.fault(source_text, error))
    key, first = ((), ()) if records is None else (records.key, records.first)
    try:
        assembly.check_destination(pipeline, key or pipeline.extract.key, first, output)
        checks.append(ValidationCheck(sink_text))
    except LoomError as error:
        checks.append(report.fault(sink_text, error))
    return checks, records


def _inspect_records(
    pipeline: Pipeline, rows: Iterable[JsonObject | RefusedRow]
) -> _Records | None:
    """Read the first records, and determine the fields of the records.

    All records are read if the file format allows different fields in each record. Return None if
    there is no valid record.
    """
    first: list[JsonObject] = []
    field_names = FieldNames()
    source = pipeline.extract.source
    whole = source.endswith(_OWN_FIELDS)
    for number, row in enumerate(rows):
        if number == _MOST_ROWS and not whole:
            break
        if not isinstance(row, RefusedRow):
            field_names.add(row)
            if len(first) < _MOST_ROWS:
                first.append(row)
    if not first:
        return None
    fields = tuple(field_names.names)
    key = find_key(fields, pipeline.extract.key)
    records = (make_record(index, row, key, source) for index, row in enumerate(first))
    return _Records(tuple(first_usable(records)), key, fields, field_names.filled())
