"""The checklist of `loom validate`: the file, its prompt, its context, its connections."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.answers import holds_object
from loomgit.domain.checks import Check, Section, Validation
from loomgit.domain.place import Place, Problem
from loomgit.domain.ports import QueryValues
from loomgit.domain.records import RefusedRow
from loomgit.domain.words import one_of
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.retrieval.registry import check_name
from loomgit.wiring.catalog import Catalog
from loomgit.wiring.documents import find_documents, read_documents, searching
from loomgit.wiring.limits import unsupported
from loomgit.wiring.tested import unknown_evaluators

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.versions import FileVersion
    from loomgit.wiring.assembly import Assembly

_LOOKED_AT = 100  # rows; the first that is not refused shows the fields
_KEYED = re.compile(r"[\w.]+: ")  # a fault of a key says the key first, one of the YAML does not


class _Found(Struct):
    """The sections as they fill."""

    sections: list[Section] = field(default_factory=list)
    changeable: bool = False  # something that the user can change is wrong
    unreachable: bool = False  # something is wrong with the world

    def add(self, title: str, checks: Sequence[Check]) -> None:
        self.sections.append(Section(title, tuple(checks)))

    def fault(self, text: str, error: LoomError | Sequence[Problem]) -> Check:
        if isinstance(error, ProblemsFound):
            error = error.problems
        if isinstance(error, LoomError):
            self.changeable |= isinstance(error, UserError)
            self.unreachable |= not isinstance(error, UserError)
            hint = f"\nhint: {error.hint}" if error.hint else ""
            return Check(text, ok=False, detail=error.message + hint)
        self.changeable = True
        return Check(text, ok=False, detail="\n".join(str(problem) for problem in error))


def check_pipeline(
    assembly: Assembly, name: str, load: Callable[[], Pipeline], *, offline: bool
) -> Validation:
    """Go through the checklist. Raises UserError where there is no such pipeline."""
    found = _Found()
    try:
        pipeline = load()
    except ProblemsFound as error:
        found.add("Pipeline Definition", _definition(found, error.problems))
        return Validation(name, None, tuple(found.sections))
    problems = [*unsupported(pipeline), *assembly.check_evaluators(pipeline)]
    found.add("Pipeline Definition", _definition(found, problems))
    connections, fields = _connections(assembly, pipeline, found, offline=offline)
    _prompt(assembly, pipeline, fields, found)
    _context(assembly, pipeline, found)
    _documents(assembly, pipeline, fields, found)
    _tests(assembly, pipeline, found)
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


def _prompt(
    assembly: Assembly, pipeline: Pipeline, fields: Sequence[str] | None, found: _Found
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
    variables = [r.name for r in prompt.references if r.root == "vars" and r.name]
    problems = prompt.check(context=names, variables=variables, fields=fields)
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


def _documents(
    assembly: Assembly, pipeline: Pipeline, fields: Sequence[str] | None, found: _Found
) -> None:
    """What is searched, by what: every file is read, and no index made."""
    tree = assembly.wiring.tree
    checks = []
    for key, transform, retrieve in searching(pipeline):
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
        wanted = retrieve.query_field
        if fields is not None and wanted not in fields and transform.documents_field not in fields:
            place = pipeline.place(f"{key}.retrieve.query_field")
            message = f"{key}.retrieve.query_field: the records have no field '{wanted}'"
            problems.append(Problem(place, message, one_of(wanted, fields, "they have")))
        checks.append(found.fault(text, problems) if problems else Check(text))
    if checks:
        found.add("Documents", checks)


def _tests(assembly: Assembly, pipeline: Pipeline, found: _Found) -> None:
    """The pipeline's test files that cannot be read, or ask for an evaluator or a data set which is
    not there.

    A broken file that names no pipeline may be anyone's.
    """
    suites, broken = Catalog(assembly.wiring).sound_suites()
    checks = [
        found.fault(f"{PurePosixPath(each.path).name} can be read", each.problems)
        for each in broken
        if each.pipeline in ("", pipeline.name)
    ]
    for suite in suites:
        if suite.pipeline != pipeline.name:
            continue
        problems = unknown_evaluators(suite, pipeline)
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
    assembly: Assembly, pipeline: Pipeline, found: _Found, *, offline: bool
) -> tuple[list[Check], list[str] | None]:
    """The checks of both ends, and the fields that the first record has (None: not known)."""
    source_text = f"Source: {pipeline.extract.source} reachable"
    sink_text = f"Destination: {pipeline.load.destination} writable"
    if offline:
        texts = (source_text, sink_text)
        return [Check(f"{text} (not looked at)", ok=None) for text in texts], None
    checks = []
    fields = None
    try:
        source = assembly.source(pipeline, QueryValues(datetime.now(UTC)), limit=_LOOKED_AT)
        source.check()
        first = next((row for row in source.rows() if not isinstance(row, RefusedRow)), None)
        fields = None if first is None else list(first)
        checks.append(Check(source_text))
    except LoomError as error:
        checks.append(found.fault(source_text, error))
    try:
        assembly.check_destination(pipeline, fields)
        checks.append(Check(sink_text))
    except LoomError as error:
        checks.append(found.fault(sink_text, error))
    return checks, fields
