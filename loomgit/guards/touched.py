"""Which pipelines a change concerns: by the ids of all files that they depend on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from loomgit.domain.suites import HallucinationRate
from loomgit.errors import ProblemsFound, UserError
from loomgit.rows.address import local_files
from loomgit.wiring.bench import Bench, changed_files, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.suites import Suite
    from loomgit.wiring.bench import Subject

RELATIVE = re.compile(r"^(HEAD|FETCH_HEAD|ORIG_HEAD)\b|[~^]|@\{")
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
            moving = _moving(heads, name)
            if moving and differ(heads, bases, paths + _pinned(heads, name)):
                unread[name] = moving
    if unread and not _any_differs(heads, bases):
        unread = {}
    return found, tuple(f"{name}: {' '.join(reason.split())}" for name, reason in unread.items())


def _pinned(heads: Bench, name: str) -> list[str]:
    """The prompt and the context files of a pipeline, whatever version of them is used."""
    transform = heads.catalog.pipeline(name).transform
    return [transform.prompt or "", *(file.path for file in transform.context)]


def _moving(heads: Bench, name: str) -> str:
    """Name the first version of a pipeline that is a branch, or relative to one; empty if there is
    none. A change of the pinned file takes effect when the branch moves, and cannot be tested
    before."""
    transform = heads.catalog.pipeline(name).transform
    asked = [("transform.prompt_version", transform.prompt_version)]
    asked += [(f"transform.context.{n}", file.version) for n, file in enumerate(transform.context)]
    for key, version in asked:
        if version is None:
            continue
        refs = [f"refs/{kind}/{version}" for kind in ("tags", "heads", "remotes", "remotes/origin")]
        tag, *branches = heads.wiring.repository.objects(refs)
        if (not tag and any(branches)) or RELATIVE.search(version):
            return f"{key}: {version} is no fixed version: pin a tag or a commit"
    return ""


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
    local = [path for path in local_files(source) if not Path(path).is_absolute()]
    return [*subject.plan.dependencies(), *local]


def datasets_of(suites: Iterable[Suite]) -> Iterable[str]:
    """The files of the project that test files name: data sets, and evaluators of their own."""
    for suite in suites:
        yield from local_files(suite.dataset) if suite.dataset else ()
        for test in suite.distributional_tests:
            if isinstance(test, HallucinationRate) and test.evaluator is not None:
                path, _, function = test.evaluator.type.rpartition(":")
                yield from [path] if function else []
