"""The parsed pipelines and test files of one tree (a commit, the index or the working tree)."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.project_files import decode, find_pipeline, read
from loomgit.domain.place import Problem
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import ProblemsFound, UserError
from loomgit.evaluators.user_defined import plugin_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from loomgit.config.parse_cache import ParseCache
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.place import Place
    from loomgit.domain.suites import Suite
    from loomgit.history.trees import Tree

PIPELINES, TESTS = "pipelines", "tests"
SUITE_ENDINGS = ("_test.yaml", ".loom.yaml")


@cache
def _plugins() -> Collection[str]:
    return plugin_names()


class _Plugins(Collection[str]):
    """The evaluators of installed packages. Loom searches for them at the first use. If a pipeline
    uses only Loom's own evaluators, there is no search."""

    def __contains__(self, name: object) -> bool:
        return name in _plugins()

    def __iter__(self) -> Iterator[str]:
        return iter(_plugins())

    def __len__(self) -> int:
        return len(_plugins())


EVALUATOR_PLUGINS: Collection[str] = _Plugins()


class UnreadableSuite(Struct, frozen=True):
    """A test file that cannot be read, with its problems. `pipeline` is the name of the tested
    pipeline, or empty if the name is unknown."""

    path: str
    pipeline: str
    problems: tuple[Problem, ...]


class Catalog:
    """The pipelines under `pipelines/` and the test files under `tests/` of one tree."""

    def __init__(self, tree: Tree, parse_cache: ParseCache) -> None:
        self._tree = tree
        self._parse_cache = parse_cache

    def pipeline_names(self) -> list[str]:
        """Return the names of the pipelines under `pipelines/`, sorted."""
        return [PurePosixPath(path).stem for path in self._tree.names(PIPELINES, ".yaml")]

    def pipeline(self, name: str) -> Pipeline:
        """Return the definition in `pipelines/<name>.yaml`. Raises UserError or ProblemsFound."""
        if name.endswith(".yaml"):  # a path, which shell completion inserts
            name = Path(name).stem
        path = f"{PIPELINES}/{name}.yaml"
        text = self._text(path)
        if text is None:
            names = self.pipeline_names()
            hint = did_you_mean(name, names) or (
                f"pipelines/ has: {', '.join(names)}" if names else "pipelines/ has no pipelines"
            )
            raise UserError(f"there is no pipeline {name}", hint=hint)
        pipeline = self._parse_cache.pipeline(text, path, _Plugins())
        if pipeline.name != name:
            message = f"name: '{pipeline.name}' differs from the name of the file"
            hint = f"write `name: {name}`, or rename the file to {pipeline.name}.yaml"
            raise ProblemsFound([Problem(pipeline.place("name"), message, hint)])
        return pipeline

    def named_files(self, name: str) -> list[tuple[str, str, Place]]:
        """Return `(key, path, position)` for each file that a pipeline file refers to.

        The pipeline file may contain errors. If it is not valid YAML, the list is empty. A path
        that has a version or contains a template (`{{`) is omitted.
        """
        path = f"{PIPELINES}/{Path(name).stem if name.endswith('.yaml') else name}.yaml"
        try:
            return self._parse_cache.named_files(self._text(path) or "", path)
        except ProblemsFound:
            return []

    def suite_paths(self) -> list[str]:
        """Return the paths of the test files under `tests/`, sorted by ending and path."""
        return [path for ending in SUITE_ENDINGS for path in self._tree.files(TESTS, ending)]

    def suites(self) -> list[Suite]:
        """Parse and return all test files. Raises ProblemsFound with the problems of all files."""
        suites, broken = self.readable_suites()
        raise_problems(broken)
        return suites

    def readable_suites(self) -> tuple[list[Suite], list[UnreadableSuite]]:
        """Return the parsed test files, and the test files that cannot be parsed, with their
        problems."""
        suites: list[Suite] = []
        broken: list[UnreadableSuite] = []
        for path in self.suite_paths():
            try:
                suites.append(self.suite(path))
            except ProblemsFound as error:
                broken.append(UnreadableSuite(path, self._pipeline_of(path), error.problems))
        return suites, broken

    def _pipeline_of(self, path: str) -> str:
        """Return the name of the pipeline of an unreadable test file, or "" if it is unknown."""
        try:
            return find_pipeline(self._text(path) or "")
        except ProblemsFound:  # the file is not UTF-8
            return ""

    def suite(self, path: str) -> Suite:
        """Return the test file at `path` in the project. Raises UserError or ProblemsFound."""
        text = self._text(path)
        if text is None:
            raise UserError(f"{path}: no such file")
        return self._parse_cache.suite(text, path, _Plugins())

    def _text(self, path: str) -> str | None:
        tree = self._tree
        if tree.revision is None:
            file = tree.root / path
            return read(file, tree.root)[0] if file.exists() else None
        contents = self._pipelines if path.startswith(f"{PIPELINES}/") else tree.read([path])
        content = contents.get(path)
        return None if content is None else decode(content, path)

    @cached_property
    def _pipelines(self) -> dict[str, bytes]:
        """The pipeline files of a commit or the index, by path. One Git process reads them."""
        return self._tree.read(self._tree.names(PIPELINES, ".yaml"))


def raise_problems(broken: Iterable[UnreadableSuite]) -> None:
    """Raise ProblemsFound with the problems of all these files. Does nothing if there are no
    files."""
    problems = [problem for file in broken for problem in file.problems]
    if problems:
        raise ProblemsFound(problems)


def raise_or_warn(
    broken: Iterable[UnreadableSuite],
    matters: Callable[[UnreadableSuite], bool],
    warn: Callable[[str], None],
) -> None:
    """Raise ProblemsFound with the problems of the files for which `matters` returns true.

    If there are no such files, `warn` is called with the first problem of each file.
    """
    relevant: list[UnreadableSuite] = []
    irrelevant: list[UnreadableSuite] = []
    for file in broken:
        (relevant if matters(file) else irrelevant).append(file)
    raise_problems(relevant)
    for file in irrelevant:
        problem = file.problems[0]
        warn(f"{problem.place}: {problem.message}: these tests are left out")
