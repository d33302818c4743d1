"""Planning: a pipeline's contents at their versions, read and checked; what identifies its results.

Apart from `loomgit.wiring.assembly`, so that who only compares results loads no gateway and no
evaluator.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from loomgit.config.load import parse_front_matter
from loomgit.domain.place import Problem
from loomgit.domain.settings import EMBEDDED_MODEL
from loomgit.errors import ProblemsFound, UserError
from loomgit.pipeline.plan import PLAIN, Plan
from loomgit.pipeline.prompt import Prompt, split_front_matter
from loomgit.wiring.limits import unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loomgit.domain.definitions import FrontMatter, Pipeline
    from loomgit.domain.versions import FileVersion
    from loomgit.wiring.project import Wiring


class Planning:
    """Makes plans of the pipelines of one tree."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring

    def plan(
        self, pipeline: Pipeline, variables: Mapping[str, str], execution_date: datetime
    ) -> tuple[Plan, Prompt]:
        """The contents, model and variables of a run. Raises ProblemsFound with all faults."""
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
        if problems or prompt_file is None:
            raise ProblemsFound(problems)
        prompt = self.prompt(prompt_file)
        names = [*context, *([transform.context_field] if transform.context_field else [])]
        faults = prompt.check(context=names, variables=variables, fields=None)
        if faults:
            raise ProblemsFound(faults)
        return self._plan(pipeline, prompt_file, prompt, context, variables, execution_date), prompt

    def _plan(
        self,
        pipeline: Pipeline,
        prompt_file: FileVersion,
        prompt: Prompt,
        context: dict[str, FileVersion],
        variables: Mapping[str, str],
        execution_date: datetime,
    ) -> Plan:
        defaults = self.wiring.settings.defaults
        front = self.front_matter(prompt_file)
        model = pipeline.transform.model or front.model or defaults.model
        scripts = [
            spec.type.partition(":")[0] for spec in pipeline.evaluate.evaluators if ":" in spec.type
        ]
        included = self._include_paths(prompt_file, prompt)
        instead = pipeline.load.fallback.transform if pipeline.load.fallback else None
        others = (
            [] if instead is None else [instead.prompt or "", *(f.path for f in instead.context)]
        )
        paths = [pipeline.path, *scripts, *filter(None, others)]
        tree = self.wiring.tree
        here = (None, tree.revision)  # a pinned file has the mode of a plain one
        unpinned = [f.path for f in (prompt_file, *context.values()) if f.revision in here]
        entries = tree.entries([*paths, *unpinned])
        return Plan(
            pipeline=pipeline,
            prompt=prompt_file,
            context=context,
            model=model,
            judge=pipeline.evaluate.model or defaults.judge_model or own_judge(model),
            variables=dict(variables),
            execution_date=execution_date,
            output=dict(pipeline.transform.output or front.output or {}) or None,
            files={p: e.blob for p, e in entries.items() if p in paths} | included,
            modes={path: entry.mode for path, entry in entries.items() if entry.mode != PLAIN},
        )

    def _include_paths(self, prompt_file: FileVersion, prompt: Prompt) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in prompt.includes:
            version = self._find_include(prompt_file, name)
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
        for key, file in zip(asked, found, strict=True):
            if isinstance(file, UserError):
                name = key.removesuffix(f".{key.rpartition('.')[2]}") if key[-1].isdigit() else key
                problems.append(Problem(pipeline.place(key), f"{name}: {file.message}", file.hint))
            read.append(file if not isinstance(file, UserError) else None)
        return read

    def front_matter(self, file: FileVersion) -> FrontMatter:
        """What the prompt says of itself."""
        text, _, _ = split_front_matter(file.text)
        return parse_front_matter(text, file.path)

    def prompt(self, file: FileVersion) -> Prompt:
        """The compiled prompt; what it includes is read at its own version."""

        def include(name: str) -> str | None:
            found = self._find_include(file, name)
            return None if found is None else found.text

        return Prompt(file.path, file.text, include=include)

    def _find_include(self, file: FileVersion, name: str) -> FileVersion | None:
        beside = PurePosixPath(file.former_path or file.path).parent / name
        for path in (beside, PurePosixPath(name)):
            if ".." in path.parts or path.is_absolute():
                continue
            try:
                return self.wiring.versions.read(str(path), file.revision)
            except UserError:
                continue
        return None


def own_judge(model: str) -> str | None:
    """A model judges its own output where no judge is named; the embedded one cannot judge."""
    return None if model == EMBEDDED_MODEL else model
