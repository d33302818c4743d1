"""What a project defines at one tree: its pipelines and its test files, parsed."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.text import decode, find_pipeline, read
from loomgit.domain.place import Problem
from loomgit.domain.words import did_you_mean
from loomgit.errors import ProblemsFound, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.place import Place
    from loomgit.domain.suites import Suite
    from loomgit.wiring.project import Wiring

PIPELINES, TESTS = "pipelines", "tests"
SUITE_ENDINGS = ("_test.yaml", ".loom.yaml")


@cache
def _plugins() -> Collection[str]:
    from loomgit.evaluators.own import plugin_names  # noqa: PLC0415 - it looks through all packages

    return plugin_names()


class _Plugins(Collection[str]):
    """The evaluators of installed packages, looked for when a type is none of Loom's own."""

    def __contains__(self, name: object) -> bool:
        return name in _plugins()

    def __iter__(self) -> Iterator[str]:
        return iter(_plugins())

    def __len__(self) -> int:
        return len(_plugins())


EVALUATOR_PLUGINS: Collection[str] = _Plugins()


class Broken(Struct, frozen=True):
    """A test file that cannot be read, the pipeline that it is about (empty: nobody knows), and its
    faults."""

    path: str
    pipeline: str
    problems: tuple[Problem, ...]


class Catalog:
    """The pipelines under `pipelines/` and the test files under `tests/` of a wiring's tree."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def pipeline_names(self) -> list[str]:
        """The names under `pipelines/`, in order."""
        return [PurePosixPath(path).stem for path in self._wiring.tree.names(PIPELINES, ".yaml")]

    def pipeline(self, name: str) -> Pipeline:
        """The definition `pipelines/<name>.yaml`. Raises UserError or ProblemsFound."""
        if name.endswith(".yaml"):  # a path, as a shell completes it
            name = Path(name).stem
        path = f"{PIPELINES}/{name}.yaml"
        text = self._text(path)
        if text is None:
            names = self.pipeline_names()
            hint = did_you_mean(name, names) or (
                f"pipelines/ has: {', '.join(names)}" if names else "pipelines/ has none"
            )
            raise UserError(f"there is no pipeline {name}", hint=hint)
        pipeline = self._wiring.parsed.pipeline(text, path, _Plugins())
        if pipeline.name != name:
            message = f"name: '{pipeline.name}' is not the file's name"
            hint = f"call it '{name}', or the file {pipeline.name}.yaml"
            raise ProblemsFound([Problem(pipeline.place("name"), message, hint)])
        return pipeline

    def named_files(self, name: str) -> list[tuple[str, str, Place]]:
        """The files that a pipeline names, whatever its faults: the key, the path, its place.

        Empty where the file is not YAML. Files of another version are left out.
        """
        path = f"{PIPELINES}/{Path(name).stem if name.endswith('.yaml') else name}.yaml"
        from loomgit.config.pipelines import named_files  # noqa: PLC0415 - pydantic, for who checks

        try:
            return named_files(self._text(path) or "", path)
        except ProblemsFound:
            return []

    def suite_paths(self) -> list[str]:
        """The test files under `tests/`, in order."""
        return [path for ending in SUITE_ENDINGS for path in self._wiring.tree.files(TESTS, ending)]

    def suites(self) -> list[Suite]:
        """All test files, parsed. Raises ProblemsFound with the faults of all of them."""
        suites, broken = self.sound_suites()
        raise_for(broken)
        return suites

    def sound_suites(self) -> tuple[list[Suite], list[Broken]]:
        """The test files that can be read, parsed, and those that cannot."""
        suites: list[Suite] = []
        broken: list[Broken] = []
        for path in self.suite_paths():
            try:
                suites.append(self.suite(path))
            except ProblemsFound as found:
                broken.append(Broken(path, self._about(path), found.problems))
        return suites, broken

    def _about(self, path: str) -> str:
        try:
            return find_pipeline(self._text(path) or "")
        except ProblemsFound:  # not UTF-8
            return ""

    def suite(self, path: str) -> Suite:
        """The test file at the project's `path`. Raises UserError or ProblemsFound."""
        text = self._text(path)
        if text is None:
            raise UserError(f"{path}: no such file")
        return self._wiring.parsed.suite(text, path, _Plugins())

    def _text(self, path: str) -> str | None:
        tree = self._wiring.tree
        if tree.revision is None:
            whole = tree.root / path
            return read(whole, tree.root)[0] if whole.exists() else None
        held = self._pipelines if path.startswith(f"{PIPELINES}/") else tree.read([path])
        content = held.get(path)
        return None if content is None else decode(content, path)

    @cached_property
    def _pipelines(self) -> dict[str, bytes]:
        """All pipeline files of a commit or the index: one process for any number of them."""
        return self._wiring.tree.read(self._wiring.tree.names(PIPELINES, ".yaml"))


def raise_for(broken: Iterable[Broken]) -> None:
    """Raise ProblemsFound with the faults of all of these files; of none, nothing."""
    problems = [problem for each in broken for problem in each.problems]
    if problems:
        raise ProblemsFound(problems)


def raise_or_warn(
    broken: Iterable[Broken], matters: Callable[[Broken], bool], warn: Callable[[str], None]
) -> None:
    """Raise ProblemsFound for the broken files that matter; the first fault of each other one is
    a warning."""
    of_no_matter: list[Broken] = []
    that_matter: list[Broken] = []
    for each in broken:
        (that_matter if matters(each) else of_no_matter).append(each)
    raise_for(that_matter)
    for each in of_no_matter:
        problem = each.problems[0]
        warn(f"{problem.place}: {problem.message}: these tests are left out")
