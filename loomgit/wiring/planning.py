"""Planning: a pipeline's contents at their versions, read and checked; what identifies its results.

Apart from `loomgit.wiring.assembly`, so that who only compares results loads no gateway and no
evaluator.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.place import Problem
from loomgit.domain.settings import EMBEDDED_MODEL
from loomgit.domain.withheld import is_withheld
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.evaluators.kinds import needs_judge
from loomgit.pipeline.front_matter import split_front_matter
from loomgit.pipeline.plan import PLAIN, Plan
from loomgit.wiring.code import find_code
from loomgit.wiring.consistency import contradictions
from loomgit.wiring.documents import find_documents, searching
from loomgit.wiring.limits import unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from loomgit.domain.definitions import FrontMatter, Pipeline
    from loomgit.domain.values import Json, JsonMapping
    from loomgit.domain.versions import FileVersion
    from loomgit.pipeline.prompt import Prompt
    from loomgit.wiring.project import Wiring

MAY_HOLD_SECRETS = "{} may hold secrets, and is never sent to a model"
STATEMENT = "{%"  # in a template; without one nothing can be included


class Planning:
    """Makes plans of the pipelines of one tree."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring

    def plan(
        self, pipeline: Pipeline, variables: Mapping[str, str], execution_date: datetime
    ) -> tuple[Plan, Prompt]:
        """The contents, model and variables of a run. Raises ProblemsFound with all faults."""
        plan, prompt = self.draft(pipeline, variables, execution_date)
        return plan, prompt()

    def draft(
        self, pipeline: Pipeline, variables: Mapping[str, str], execution_date: datetime
    ) -> tuple[Plan, Callable[[], Prompt]]:
        """As `plan`, but for the prompt: where it can include no other, it is compiled and checked
        when somebody wants it, and its faults are raised then."""
        transform = pipeline.transform
        problems: list[Problem] = [*unsupported(pipeline)]
        assert transform.prompt is not None  # the pipeline file was checked
        asked = {"transform.prompt": (transform.prompt, transform.prompt_version)} | {
            f"transform.context.{number}": (file.path, file.version)
            for number, file in enumerate(transform.context)
        }
        prompt_file, *files = self._read(pipeline, asked, problems)
        context = {
            file.name: found
            for file, found in zip(transform.context, files, strict=True)
            if found is not None
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
        searched, others = documents.pop("transform", {}), documents.values()
        more = {path: blob for found in others for path, blob in found.items()}
        return replace(plan, documents=searched, files={**more, **plan.files}), compiled

    def documents(self, pipeline: Pipeline, problems: list[Problem]) -> dict[str, dict[str, str]]:
        """Git's ids of the documents that are searched, by path, for each key of a transform."""
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
        variables: Mapping[str, str],
        execution_date: datetime,
    ) -> Plan:
        defaults = self.wiring.settings.defaults
        front = self.front_matter(prompt_file)
        model = pipeline.transform.model or front.model or defaults.model
        included = self._include_paths(prompt_file, includes)
        instead = pipeline.load.fallback.transform if pipeline.load.fallback else None
        others = (
            [] if instead is None else [instead.prompt or "", *(f.path for f in instead.context)]
        )
        paths = [pipeline.path, *filter(None, others)]
        tree = self.wiring.tree
        here = (None, tree.revision)  # a pinned file has the mode of a plain one
        unpinned = [f.path for f in (prompt_file, *context.values()) if f.revision in here]
        entries = tree.entries([*paths, *unpinned])
        specs = pipeline.evaluate.evaluators
        code = find_code(tree, [spec.type for spec in specs])
        judge = pipeline.evaluate.model or defaults.judge_model or own_judge(model)
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
            modes={p: e.mode for p, e in (entries | code).items() if e.mode != PLAIN},
            code={path: entry.blob for path, entry in code.items()},
            endpoints=endpoints,
            judge_endpoint=endpoints.get(judge or "", {}),
        )

    def _endpoints(self) -> dict[str, dict[str, Json]]:
        """What the configuration says of each model that can change its replies. References to
        variables stay as they are written."""
        found: dict[str, dict[str, Json]] = {}
        for name, model in self.wiring.settings.models.items():
            said: dict[str, Json] = {
                "base_url": str(model.base_url) if model.base_url else None,
                "lane": model.lane,
                "max_output_tokens": model.max_output_tokens,
            }
            found[name] = {key: value for key, value in said.items() if value is not None}
        return {name: said for name, said in found.items() if said}

    def _includable(self, prompt_file: FileVersion) -> list[str]:
        """The files that a prompt may include by a name that is only known when it is rendered:
        those of its folder, of `prompts` and of `context`."""
        folders = {str(PurePosixPath(prompt_file.path).parent), "prompts", "context"} - {"."}
        return [path for folder in sorted(folders) for path in self.wiring.tree.files(folder, "")]

    def _include_paths(self, prompt_file: FileVersion, includes: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in includes:
            try:
                version = self._find_include(prompt_file, name)
            except UserError:
                continue  # rendering a prompt that includes it fails
            if version is not None:
                found[version.path] = version.blob
        return found

    def _read(
        self,
        pipeline: Pipeline,
        asked: Mapping[str, tuple[str, str | None]],
        problems: list[Problem],
    ) -> list[FileVersion | None]:
        """The (path, version) of each key, read together; None where it became a problem."""
        read: list[FileVersion | None] = []
        found = self.wiring.versions.read_all(list(asked.values()))
        for (key, (path, version)), file in zip(asked.items(), found, strict=True):
            if reason := self.withheld(path, version):
                file = UserError(reason)  # noqa: PLW2901 - in place of the file
            if isinstance(file, UserError):
                name = key.removesuffix(f".{key.rpartition('.')[2]}") if key[-1].isdigit() else key
                problems.append(Problem(pipeline.place(key), f"{name}: {file.message}", file.hint))
            read.append(file if not isinstance(file, UserError) else None)
        return read

    def withheld(self, path: str, version: str | None = None) -> str:
        """Why a file of the project may not reach a model; empty if it may."""
        if is_withheld(path):
            return MAY_HOLD_SECRETS.format(path)
        if version is not None:
            return ""
        real = self.wiring.tree.real_path(path)
        if real is None:
            return f"{path} leads out of the project, and is never sent to a model"
        if is_withheld(real):
            return f"{path} leads to {real}, which may hold secrets, and is never sent to a model"
        return ""

    def declared_output(self, pipeline: Pipeline) -> JsonMapping | None:
        """The form of the output as the pipeline or its prompt declares it; None where neither
        does, or the prompt cannot be read."""
        transform = pipeline.transform
        if transform.output is not None or transform.prompt is None:
            return transform.output
        try:
            file = self.wiring.versions.read(transform.prompt, transform.prompt_version)
            return self.front_matter(file).output
        except LoomError:
            return None

    def refusals(self, pipeline: Pipeline) -> list[Problem]:
        """The contradictions in a pipeline that stop `loom run` and `loom test`."""
        return list(contradictions(pipeline, self.declared_output(pipeline)))

    def front_matter(self, file: FileVersion) -> FrontMatter:
        """What the prompt says of itself."""
        text, _, _ = split_front_matter(file.text)
        return self.wiring.parsed.front_matter(text, file.path)

    def prompt(self, file: FileVersion) -> Prompt:
        """The compiled prompt; what it includes is read at its own version."""

        from loomgit.pipeline.prompt import Prompt  # noqa: PLC0415 - Jinja2, for who renders

        def include(name: str) -> str | None:
            found = self._find_include(file, name)
            return None if found is None else found.text

        return Prompt(file.path, file.text, include=include)

    def _find_include(self, file: FileVersion, name: str) -> FileVersion | None:
        if is_withheld(name):  # the message has the name as the prompt has it
            raise UserError(MAY_HOLD_SECRETS.format(name))
        beside = PurePosixPath(file.former_path or file.path).parent / name
        for path in (beside, PurePosixPath(name)):
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


def own_judge(model: str) -> str | None:
    """A model judges its own output where no judge is named; the embedded one cannot judge."""
    return None if model == EMBEDDED_MODEL else model
