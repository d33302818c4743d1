"""Builds plans: reads and checks the files of a pipeline at their versions.

The fingerprint of a plan identifies the results of a run.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.place import Problem
from loomgit.domain.variables import merge_variables
from loomgit.domain.versions import NO_FILE
from loomgit.domain.withheld_files import is_withheld
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.evaluators.kinds import needs_judge
from loomgit.gateway.routing import is_embedded
from loomgit.pipeline.front_matter import split_front_matter
from loomgit.pipeline.plan import REGULAR_FILE_MODE, Plan
from loomgit.pipeline.program import program_output
from loomgit.pipeline.prompt import Prompt
from loomgit.wiring.consistency import find_contradictions
from loomgit.wiring.documents import find_documents, searching
from loomgit.wiring.evaluator_code import find_code
from loomgit.wiring.programs import find_program
from loomgit.wiring.unsupported import unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from loomgit.domain.apps import AppProgram
    from loomgit.domain.definitions import FrontMatter, Pipeline
    from loomgit.domain.settings import ModelSettings
    from loomgit.domain.values import Json, JsonMapping
    from loomgit.domain.versions import FileVersion
    from loomgit.wiring.project import Wiring

MAY_CONTAIN_SECRETS = "{} may contain secrets, so it is never sent to a model"
STATEMENT = "{%"  # a template without a statement cannot include other templates


class Planning:
    """Builds plans for the pipelines of one tree."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring

    def plan(
        self, pipeline: Pipeline, variables: Mapping[str, Json], execution_date: datetime
    ) -> tuple[Plan, Prompt]:
        """Return the plan and the compiled prompt of a run. Raises ProblemsFound with all
        problems."""
        plan, prompt = self.draft(pipeline, variables, execution_date)
        return plan, prompt()

    def draft(
        self, pipeline: Pipeline, variables: Mapping[str, Json], execution_date: datetime
    ) -> tuple[Plan, Callable[[], Prompt]]:
        """Return the plan of a run, and a function that returns its compiled prompt.

        A prompt that cannot include other templates is not compiled until the function is called.
        The function then raises ProblemsFound if the prompt has problems. For all other problems,
        `draft` itself raises ProblemsFound.
        """
        given, variables = variables, self.variables(pipeline, variables)
        transform = pipeline.transform
        problems: list[Problem] = [*unsupported(pipeline, self.wiring.connections)]
        wanted: dict[str, tuple[str, str | None]] = {}
        if transform.prompt is not None:
            wanted["transform.prompt"] = transform.prompt, transform.prompt_version
        for number, file in enumerate(transform.context):
            wanted[f"transform.context.{number}"] = file.path, file.version
        program = self._program(pipeline, problems)
        files = self._read(pipeline, wanted, problems)
        prompt_file = NO_FILE if transform.prompt is None else files.pop(0)
        context = {
            file.name: content
            for file, content in zip(transform.context, files, strict=True)
            if content is not None
        }
        documents = {} if problems else self.documents(pipeline, problems)
        if problems or prompt_file is None:
            raise ProblemsFound(problems)
        names = [*context, *([transform.documents_field] if transform.documents_field else [])]

        @cache
        def compiled() -> Prompt:
            prompt = self.prompt(prompt_file)
            if faults := prompt.check(context=names, variables=variables, fields=None):
                raise ProblemsFound(faults)
            return prompt

        includes: Iterable[str] = ()
        if STATEMENT in prompt_file.text:
            includes = compiled().includes
            if compiled().has_computed_includes:
                includes = [*includes, *self._includable(prompt_file)]
        plan = self._plan(pipeline, prompt_file, includes, context, variables, execution_date)
        plan = replace(plan, given=dict(given), program=program)
        if program is not None and plan.output is None:
            plan = replace(plan, output=program_output(program.settings.output_schema))
        searched = documents.pop("transform", {})
        other_files = {path: blob for blobs in documents.values() for path, blob in blobs.items()}
        return replace(plan, documents=searched, files={**other_files, **plan.files}), compiled

    def _program(self, pipeline: Pipeline, problems: list[Problem]) -> AppProgram | None:
        """Return the program of a transform of the type `program`; None for other types.

        If there is no such program, the result is None, and the problems are added to `problems`.
        """
        if pipeline.transform.type != "program":
            return None
        try:
            return find_program(self.wiring, pipeline)
        except ProblemsFound as error:
            problems += error.problems
            return None

    def variables(self, pipeline: Pipeline, given: Mapping[str, Json]) -> dict[str, Json]:
        """Return the variables of a run. Values in `given` replace the pipeline's defaults.

        Raises ProblemsFound if a given value cannot have the type of its default.
        """
        try:
            return merge_variables(pipeline.vars, given)
        except UserError as error:
            raise ProblemsFound([Problem(pipeline.place("vars"), error.message)]) from error

    def documents(self, pipeline: Pipeline, problems: list[Problem]) -> dict[str, dict[str, str]]:
        """Return the documents of each transform that searches documents.

        The keys are the keys of the transforms in the pipeline file, and the values map paths to
        blob ids. Adds a problem to `problems` for each glob that matches no file.
        """
        return {
            key: find_documents(self.wiring.tree, pipeline, key, retrieve, problems)
            for key, _, retrieve in searching(pipeline)
        }

    def _plan(
        self,
        pipeline: Pipeline,
        prompt_file: FileVersion,
        includes: Iterable[str],
        context: dict[str, FileVersion],
        variables: Mapping[str, Json],
        execution_date: datetime,
    ) -> Plan:
        defaults = self.wiring.settings.defaults
        front = self.front_matter(prompt_file)
        model = pipeline.transform.model or front.model or defaults.model
        if pipeline.transform.type in ("none", "program"):
            model = ""
        included = self._include_paths(prompt_file, includes)
        fallback = pipeline.load.fallback.transform if pipeline.load.fallback else None
        fallback_paths = (
            [] if fallback is None else [fallback.prompt or "", *(f.path for f in fallback.context)]
        )
        paths = [pipeline.path, *filter(None, fallback_paths)]
        tree = self.wiring.tree
        current = (None, tree.revision)  # only files at these revisions need their file mode
        unpinned = [
            file.path
            for file in (prompt_file, *context.values())
            if file.path and file.revision in current
        ]
        entries = tree.entries([*paths, *unpinned])
        specs = pipeline.evaluate.evaluators
        code = find_code(tree, [spec.type for spec in specs])
        judge = pipeline.evaluate.model or defaults.judge_model
        judge = judge or default_judge(model, self.wiring.settings.models)
        judge = judge if any(map(needs_judge, specs)) else None
        endpoints = self._endpoints()
        return Plan(
            pipeline=pipeline,
            prompt=prompt_file,
            context=context,
            model=model,
            judge=judge,
            variables=dict(variables),
            execution_date=execution_date,
            output=dict(pipeline.transform.output or front.output or {}) or None,
            files={p: e.blob for p, e in entries.items() if p in paths} | included,
            modes={p: e.mode for p, e in (entries | code).items() if e.mode != REGULAR_FILE_MODE},
            code={path: entry.blob for path, entry in code.items()},
            endpoints=endpoints,
            judge_endpoint=endpoints.get(judge or "", {}),
        )

    def _endpoints(self) -> dict[str, dict[str, Json]]:
        """Return the settings that can change a model's replies, by the name of the model.

        References to environment variables are not replaced. Models without such settings are
        omitted.
        """
        endpoints: dict[str, dict[str, Json]] = {}
        for name, model in self.wiring.settings.models.items():
            settings: dict[str, Json] = {
                "base_url": str(model.base_url) if model.base_url else None,
                "lane": model.lane,
                "max_output_tokens": model.max_output_tokens,
            }
            endpoints[name] = {key: value for key, value in settings.items() if value is not None}
        return {name: settings for name, settings in endpoints.items() if settings}

    def _includable(self, prompt_file: FileVersion) -> list[str]:
        """Return the files that a prompt may include if the included name is an expression.

        The name is unknown before the prompt is rendered. Therefore, the result contains all files
        in the prompt's folder, in `prompts` and in `context`.
        """
        folders = {str(PurePosixPath(prompt_file.path).parent), "prompts", "context"} - {"."}
        return [path for folder in sorted(folders) for path in self.wiring.tree.files(folder, "")]

    def _include_paths(self, prompt_file: FileVersion, includes: Iterable[str]) -> dict[str, str]:
        """Return the blob ids of the included files, by path."""
        blobs: dict[str, str] = {}
        for name in includes:
            try:
                version = self._find_include(prompt_file, name)
            except UserError:
                continue  # the error is reported when the prompt is rendered
            if version is not None:
                blobs[version.path] = version.blob
        return blobs

    def _read(
        self,
        pipeline: Pipeline,
        wanted: Mapping[str, tuple[str, str | None]],
        problems: list[Problem],
    ) -> list[FileVersion | None]:
        """Read the files of `wanted` together; return them in the same order.

        `wanted` maps a key of the pipeline file to a path and a version. If a file cannot be read,
        the result contains None, and the problem is added to `problems`.
        """
        read: list[FileVersion | None] = []
        results = self.wiring.versions.read_all(list(wanted.values()))
        for (key, (path, version)), file in zip(wanted.items(), results, strict=True):
            if reason := self.withheld(path, version):
                file = UserError(reason)  # noqa: PLW2901 - the error replaces the file
            if isinstance(file, UserError):
                name = key.removesuffix(f".{key.rpartition('.')[2]}") if key[-1].isdigit() else key
                problems.append(Problem(pipeline.place(key), f"{name}: {file.message}", file.hint))
            read.append(file if not isinstance(file, UserError) else None)
        return read

    def withheld(self, path: str, version: str | None = None) -> str:
        """Return the reason why a project file must not be sent to a model, or "" if it may be
        sent."""
        if is_withheld(path):
            return MAY_CONTAIN_SECRETS.format(path)
        if version is not None:
            return ""
        real = self.wiring.tree.real_path(path)
        if real is None:
            return f"{path} points outside the project, so it is never sent to a model"
        if is_withheld(real):
            return MAY_CONTAIN_SECRETS.format(f"{path} links to {real}, which")
        return ""

    def declared_output(self, pipeline: Pipeline) -> JsonMapping | None:
        """Return the JSON Schema of the output that the pipeline or its prompt declares.

        For a program, it is the output schema of its app. The result is None if none of them
        declares an output, or if the prompt or the app cannot be read.
        """
        transform = pipeline.transform
        if transform.output is None and transform.type == "program":
            program = self._program(pipeline, [])
            return None if program is None else program_output(program.settings.output_schema)
        if transform.output is not None or transform.prompt is None:
            return transform.output
        try:
            file = self.wiring.versions.read(transform.prompt, transform.prompt_version)
            return self.front_matter(file).output
        except LoomError:
            return None

    def refusals(self, pipeline: Pipeline) -> list[Problem]:
        """Return the contradictions in a pipeline that prevent `loom run` and `loom test`."""
        return list(find_contradictions(pipeline, self.declared_output(pipeline)))

    def front_matter(self, file: FileVersion) -> FrontMatter:
        """Return the settings in the front matter of a prompt file."""
        text, _, _ = split_front_matter(file.text)
        return self.wiring.parse_cache.front_matter(text, file.path)

    def prompt(self, file: FileVersion) -> Prompt:
        """Return the compiled prompt. Included files are read at the version of the prompt."""

        def include(name: str) -> str | None:
            included = self._find_include(file, name)
            return None if included is None else included.text

        return Prompt(file.path, file.text, include=include)

    def _find_include(self, file: FileVersion, name: str) -> FileVersion | None:
        # Checked first, so that the message shows the name as it is written in the prompt.
        if is_withheld(name):
            raise UserError(MAY_CONTAIN_SECRETS.format(name))
        sibling = PurePosixPath(file.former_path or file.path).parent / name
        for path in (sibling, PurePosixPath(name)):
            if ".." in path.parts or path.is_absolute():
                continue
            pinned = file.revision if file.revision != self.wiring.tree.revision else None
            if reason := self.withheld(str(path), pinned):
                raise UserError(reason)
            try:
                return self.wiring.versions.read(str(path), file.revision)
            except UserError:
                continue
        return None


def default_judge(model: str, models: Mapping[str, ModelSettings]) -> str | None:
    """Return the judge for a pipeline that configures no judge: the pipeline's own model.

    The result is None if the pipeline has no model, and for the embedded model, which cannot judge.
    """
    return None if not model or is_embedded(model, models.get(model)) else model
