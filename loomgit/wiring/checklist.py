"""The checklist of `loom validate`: the file, its prompt, its context, its connections."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.answers import holds_object
from loomgit.domain.checks import Check, Section, Validation
from loomgit.domain.keys import find_key
from loomgit.domain.place import Place, Problem
from loomgit.domain.records import Record, RefusedRow, first_usable, make_record
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.retrieval.registry import check_name
from loomgit.rows.address import DATABASE_ENDINGS, FORMATS, local_files
from loomgit.rows.spool import FieldNames
from loomgit.wiring.catalog import Catalog
from loomgit.wiring.consistency import (
    contradictions,
    missing_fields,
    missing_key,
    outside_output,
)
from loomgit.wiring.documents import find_documents, read_documents, searching
from loomgit.wiring.limits import unsupported
from loomgit.wiring.tested import unknown_evaluators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import QueryValues
    from loomgit.domain.values import Json, JsonMapping, JsonObject
    from loomgit.domain.versions import FileVersion
    from loomgit.wiring.assembly import Assembly

_LOOKED_AT = 1000  # rows that show which fields the records have
_OWN_FIELDS = (".json", ".jsonl", ".ndjson")  # a record may have fields that others lack
_KEYED = re.compile(r"[\w.]+: ")  # a fault of a key says the key first, one of the YAML does not


class _Found(Struct):
    """The sections as they fill."""

    sections: list[Section] = field(default_factory=list)
    changeable: bool = False  # something that the user can change is wrong
    unreachable: bool = False  # something is wrong with the world

    def add(self, title: str, checks: Sequence[Check]) -> None:
        self.sections.append(Section(title, tuple(checks)))

    def fault(self, text: str, error: LoomError | Sequence[Problem]) -> Check:
        if not isinstance(error, LoomError):
            error = ProblemsFound(error)
        self.changeable |= isinstance(error, UserError)
        self.unreachable |= not isinstance(error, UserError)
        hint = f"\nhint: {error.hint}" if error.hint else ""
        return Check(text, False, error.message + hint, tuple(error.documents()))


class _Records(Struct, frozen=True):
    """The first records of the source that are not refused, the key, all fields that occur, and
    those that have a value in some record."""

    first: tuple[Record, ...]
    key: tuple[str, ...]
    fields: tuple[str, ...]
    filled: frozenset[str]


def check_pipeline(
    assembly: Assembly,
    name: str,
    load: Callable[[], Pipeline],
    *,
    offline: bool,
    values: QueryValues,
) -> Validation:
    """Go through the checklist. `values` are those of a run. Missing variables are reported only if
    at least one variable is given.

    Raises UserError where there is no such pipeline.
    """
    found = _Found()
    try:
        pipeline = load()
    except ProblemsFound as error:
        found.add("Pipeline Definition", _definition(found, error.problems))
        _named_files(assembly, name, found)
        _tests(assembly, name, None, None, found)
        return Validation(name, None, tuple(found.sections))
    output = assembly.declared_output(pipeline)
    connections, records = _connections(
        assembly, pipeline, output, found, offline=offline, values=values
    )
    problems = [
        *unsupported(pipeline),
        *assembly.check_evaluators(pipeline),
        *contradictions(pipeline, output),
    ]
    if records is not None:
        problems += missing_key(pipeline, records.key, records.fields)
        problems += missing_fields(pipeline, records.fields, records.filled)
    found.add("Pipeline Definition", _definition(found, problems))
    fields = None if records is None else records.fields
    _prompt(assembly, pipeline, fields, dict(values.variables or {}), found)
    _fallback(assembly, pipeline, found)
    _context(assembly, pipeline, found)
    _documents(assembly, pipeline, found)
    _tests(assembly, pipeline.name, pipeline, output, found)
    found.add("Connections", connections)
    sections = tuple(found.sections)
    world = found.unreachable and not found.changeable
    return Validation(pipeline.name, pipeline.version, sections, unreachable=world)


def _definition(found: _Found, problems: Sequence[Problem]) -> list[Check]:
    yaml = [problem for problem in problems if not _KEYED.match(problem.message)]
    keyed = [problem for problem in problems if problem not in yaml]
    evaluators = [p for p in keyed if p.message.startswith("evaluate")]
    fields = [p for p in keyed if p not in evaluators]
    if yaml:
        return [found.fault("YAML syntax valid", yaml)]
    return [
        Check("YAML syntax valid"),
        found.fault("Required fields present", fields)
        if fields
        else Check("Required fields present"),
        found.fault("Evaluator configs valid", evaluators)
        if evaluators
        else Check("Evaluator configs valid"),
    ]


def _fallback(assembly: Assembly, pipeline: Pipeline, found: _Found) -> None:
    """The files of `load.fallback`, which has a prompt and context of its own."""
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
            checks.append(Check(label))
        except LoomError as error:
            checks.append(found.fault(label, error))
    found.add("Fallback", checks)


def _named_files(assembly: Assembly, name: str, found: _Found) -> None:
    """The files that a pipeline with other faults names, and that are not there."""
    problems = [
        Problem(place, f"{key}: {path}: no such file")
        for key, text, place in Catalog(assembly.wiring).named_files(name)
        for path in _path_in(key, text)
        if not (assembly.wiring.root / path).exists()
    ]
    if problems:
        found.add("Files", [found.fault("Named files exist", problems)])


def _path_in(key: str, text: str) -> tuple[str, ...]:
    """The path of a file in the value of a key; none where it is a database or a built-in name."""
    if key == "extract.source":
        endings = (*FORMATS, *DATABASE_ENDINGS)
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
    found: _Found,
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
        found.add("Prompts", [found.fault(f"{label} exists", error)])
        return
    checks = [Check(f"{label} ({file.name}) exists")]
    try:
        prompt = assembly.prompt(file)
    except LoomError as error:
        found.add("Prompts", [*checks, found.fault("Template syntax valid", error)])
        return
    names = [context.name for context in transform.context]
    field = transform.documents_field
    names += [field] if field else []
    if fields is not None and field and transform.retrieve is not None:
        fields = [*fields, field]
    given = variables or [r.name for r in prompt.references if r.root == "vars" and r.name]
    problems = prompt.check(context=names, variables=given, fields=fields)
    resolved = "Context variables resolved"
    checks.append(found.fault(resolved, problems) if problems else Check(resolved))
    front = assembly.front_matter(file)
    specified = transform.output or front.output or pipeline.load.schema or holds_object(file.text)
    checks.append(Check("Output format specified" if specified else "Output format: plain text"))
    found.add("Prompts", checks)


def _read(
    assembly: Assembly, pipeline: Pipeline, key: str, path: str, version: str | None
) -> FileVersion:
    """A prompt or context file. Raises ProblemsFound for one that is missing or may not be sent."""
    place = pipeline.place(key)
    if reason := assembly.withheld(path, version):
        raise ProblemsFound([Problem(place, reason)])
    try:
        return assembly.wiring.versions.read(path, version)
    except UserError as error:
        raise ProblemsFound([Problem(place, error.message, error.hint)]) from error


def _context(assembly: Assembly, pipeline: Pipeline, found: _Found) -> None:
    checks = []
    for number, file in enumerate(pipeline.transform.context):
        label = PurePosixPath(file.path).name
        try:
            version = _read(
                assembly, pipeline, f"transform.context.{number}", file.path, file.version
            )
        except LoomError as error:
            checks.append(found.fault(f"{label} exists", error))
        else:
            checks.append(Check(f"{label} ({version.name}) exists"))
    if checks:
        found.add("Context", checks)


def _documents(assembly: Assembly, pipeline: Pipeline, found: _Found) -> None:
    """What is searched, by what: every file is read, and no index made."""
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
        checks.append(found.fault(text, problems) if problems else Check(text))
    if checks:
        found.add("Documents", checks)


def _tests(
    assembly: Assembly,
    name: str,
    pipeline: Pipeline | None,
    output: JsonMapping | None,
    found: _Found,
) -> None:
    """The test files of a pipeline that cannot be read, or do not fit the pipeline.

    A broken file that names no pipeline may be anyone's. `pipeline` is None where it is broken.
    """
    suites, broken = Catalog(assembly.wiring).sound_suites()
    checks = [
        found.fault(f"{PurePosixPath(each.path).name} can be read", each.problems)
        for each in broken
        if each.pipeline in ("", name)
    ]
    for suite in suites:
        if suite.pipeline != name:
            continue
        problems: list[Problem] = []
        if pipeline is not None:
            problems += unknown_evaluators(suite, pipeline)
            problems += outside_output(suite, output)
        data = suite.dataset
        if data and "://" not in data and not (assembly.wiring.root / data).exists():
            place = suite.places.get("dataset") or Place(suite.path)
            problems.append(Problem(place, f"dataset: {data}: no such file"))
        if problems:
            label = f"{PurePosixPath(suite.path).name} fits the pipeline"
            checks.append(found.fault(label, problems))
    if checks:
        found.add("Tests", checks)


def _connections(
    assembly: Assembly,
    pipeline: Pipeline,
    output: JsonMapping | None,
    found: _Found,
    *,
    offline: bool,
    values: QueryValues,
) -> tuple[list[Check], _Records | None]:
    """The checks of both ends, and the first records (None: there are none, or nobody knows)."""
    source_text = f"Source: {pipeline.extract.source} reachable"
    sink_text = f"Destination: {pipeline.load.destination} writable"
    if offline:
        texts = (source_text, sink_text)
        return [Check(f"{text} (not looked at)", ok=None) for text in texts], None
    checks = []
    records = None
    try:
        with assembly.reading(pipeline):
            source = assembly.source(pipeline, values, limit=None)
            unread: LoomError | None = None
            try:
                records = _look(pipeline, source.rows())
            except LoomError as error:
                unread = error
            source.check()  # may name the key, where the records were read all the same
            if unread is not None:
                raise unread
        checks.append(Check(source_text))
    except LoomError as error:
        checks.append(found.fault(source_text, error))
    key, first = ((), ()) if records is None else (records.key, records.first)
    try:
        assembly.check_destination(pipeline, key or pipeline.extract.key, first, output)
        checks.append(Check(sink_text))
    except LoomError as error:
        checks.append(found.fault(sink_text, error))
    return checks, records


def _look(pipeline: Pipeline, rows: Iterable[JsonObject | RefusedRow]) -> _Records | None:
    """What the records have; all of them are read where each may have fields of its own."""
    first: list[JsonObject] = []
    found = FieldNames()
    source = pipeline.extract.source
    whole = source.endswith(_OWN_FIELDS)
    for number, row in enumerate(rows):
        if number == _LOOKED_AT and not whole:
            break
        if not isinstance(row, RefusedRow):
            found.add(row)
            if len(first) < _LOOKED_AT:
                first.append(row)
    if not first:
        return None
    fields = tuple(found.names)
    key = find_key(fields, pipeline.extract.key)
    records = (make_record(index, row, key, source) for index, row in enumerate(first))
    return _Records(tuple(first_usable(records)), key, fields, found.filled())
