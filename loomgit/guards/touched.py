"""Which pipelines a change concerns: by the ids of all files that they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loomgit.errors import ProblemsFound, UserError
from loomgit.wiring.bench import Bench, changed_files, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.suites import Suite
    from loomgit.wiring.bench import Subject

CONFIG = ".loom/config.yaml"


def find_touched(
    heads: Bench, bases: Bench | None, suites: Sequence[Suite]
) -> tuple[list[str], tuple[str, ...]]:
    """Find the pipelines that a change concerns.

    Returns the names of the pipelines that have a changed file (pipeline, prompt, context, tests,
    data, configuration), and a line for each pipeline that cannot be read at the head. The lines
    are left out if no file of the project changed. Raises ProblemsFound for faults in a changed
    pipeline.
    """
    names = heads.catalog.pipeline_names()
    before = set() if bases is None else set(bases.catalog.pipeline_names())
    files = _files_by_pipeline(suites)
    if bases is not None:
        sound, _ = bases.catalog.sound_suites()  # the head's faults count, not the baseline's
        for name, paths in _files_by_pipeline(sound).items():
            files[name] = [*files.get(name, ()), *paths]
    found: list[str] = []
    unread: dict[str, str] = {}
    for name in names:
        paths = [CONFIG, f"pipelines/{name}.yaml", *files.get(name, ())]
        base = readable(bases, name) if bases is not None and name in before else None
        if base is not None and not isinstance(base, str):
            paths += files_of(base)
        try:
            paths += files_of(heads.subject(name))
        except ProblemsFound as fault:
            if differ(heads, bases, paths):
                raise
            unread[name] = str(fault.problems[0])
        except UserError as error:
            unread[name] = error.message
        else:
            if differ(heads, bases, paths):
                found.append(name)
    if unread and not _any_differs(heads, bases):
        unread = {}
    return found, tuple(f"{name}: {' '.join(reason.split())}" for name, reason in unread.items())


def _any_differs(heads: Bench, bases: Bench | None) -> bool:
    """Whether anything in the project's folder may differ between both trees."""
    head = heads.wiring.tree.revision
    if bases is None or not head:
        return True
    base = bases.wiring.tree.revision
    assert base
    repository = heads.wiring.repository
    quiet = ("diff-tree", "-r", "--name-only", "--ignore-submodules=none", "-z")
    return bool(repository.plumbing(*quiet, base, head, "--", repository.pathspec(".")))


def differ(heads: Bench, bases: Bench | None, paths: Iterable[str]) -> bool:
    """Whether one of these files is not the same at both, by their ids."""
    if bases is None:
        return True
    return bool(changed_files(heads, bases, paths))


def _files_by_pipeline(suites: Iterable[Suite]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for suite in suites:
        found.setdefault(suite.pipeline, []).extend([suite.path, *datasets_of([suite])])
    return found


def files_of(subject: Subject) -> list[str]:
    """The project's files that a pipeline depends on, its source among them."""
    source = subject.plan.pipeline.extract.source
    local = [] if "://" in source or Path(source).is_absolute() else [source]
    return [*subject.plan.dependencies(), *local]


def datasets_of(suites: Iterable[Suite]) -> Iterable[str]:
    """The data sets of test files that are files of the project."""
    return (suite.dataset for suite in suites if suite.dataset and "://" not in suite.dataset)
