"""Finds the pipelines that a change affects.

A change affects a pipeline if it changes any file that the pipeline depends on. Files are compared
by their ids in Git.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from loomgit.domain.suites import HallucinationRate
from loomgit.errors import ProblemsFound, UserError
from loomgit.rows.address import local_files
from loomgit.wiring.revision import ProjectRevision, changed_files, try_load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.suites import Suite
    from loomgit.wiring.revision import PipelineVersion

RELATIVE = re.compile(r"^(HEAD|FETCH_HEAD|ORIG_HEAD)\b|[~^]|@\{")
CONFIG = ".loom/config.yaml"


def find_affected(
    heads: ProjectRevision, bases: ProjectRevision | None, suites: Sequence[Suite]
) -> tuple[list[str], tuple[str, ...]]:
    """Find the pipelines that the change from `bases` to `heads` affects.

    A pipeline is affected if one of its files changed: pipeline file, prompt, context, tests, data
    or configuration. A pipeline cannot be judged if it cannot be read. It also cannot be judged if
    it pins a file to a branch and one of the pipeline's files changed.

    Returns the names of the affected pipelines, and a line for each pipeline that cannot be judged.
    If no file in the project's folder changed, there are no lines. `suites` are the head's test
    files. Raises ProblemsFound if a changed pipeline is invalid.
    """
    names = heads.catalog.pipeline_names()
    before = set() if bases is None else set(bases.catalog.pipeline_names())
    files = _files_by_pipeline(suites)
    if bases is not None:
        sound, _ = bases.catalog.readable_suites()  # faults in the base are not reported
        for name, paths in _files_by_pipeline(sound).items():
            files[name] = [*files.get(name, ()), *paths]
    affected: list[str] = []
    unread: dict[str, str] = {}
    for name in names:
        paths = [CONFIG, f"pipelines/{name}.yaml", *files.get(name, ())]
        base = try_load(bases, name) if bases is not None and name in before else None
        if base is not None and not isinstance(base, str):
            paths += files_of(base)
        try:
            paths += files_of(heads.version(name, given=heads.tested_values(name)))
        except ProblemsFound as fault:
            if differ(heads, bases, paths):
                raise
            unread[name] = fault.first_problem
        except UserError as error:
            unread[name] = error.message
        else:
            if differ(heads, bases, paths):
                affected.append(name)
            moving = _moving_version(heads, name)
            if moving and differ(heads, bases, paths + _pinned_files(heads, name)):
                unread[name] = moving
    if unread and not _any_differs(heads, bases):
        unread = {}
    return affected, tuple(f"{name}: {' '.join(reason.split())}" for name, reason in unread.items())


def _pinned_files(heads: ProjectRevision, name: str) -> list[str]:
    """Return all prompt and context files of a pipeline, with or without a pinned version."""
    transform = heads.catalog.pipeline(name).transform
    return [transform.prompt or "", *(file.path for file in transform.context)]


def _moving_version(heads: ProjectRevision, name: str) -> str:
    """Return a line about the first pinned version that is a branch or relative to a branch.

    The line is "" if all pinned versions of the pipeline are fixed. A change to a file that is
    pinned to a branch takes effect when the branch moves, so it cannot be tested earlier.
    """
    transform = heads.catalog.pipeline(name).transform
    versions = [("transform.prompt_version", transform.prompt_version)]
    versions += [
        (f"transform.context.{n}", file.version) for n, file in enumerate(transform.context)
    ]
    for key, version in versions:
        if version is None:
            continue
        refs = [f"refs/{kind}/{version}" for kind in ("tags", "heads", "remotes", "remotes/origin")]
        tag, *branches = heads.wiring.repository.objects(refs)
        if (not tag and any(branches)) or RELATIVE.search(version):
            return f"{key}: {version} is not a fixed version: pin a tag or a commit"
    return ""


def _any_differs(heads: ProjectRevision, bases: ProjectRevision | None) -> bool:
    """Return whether any file in the project's folder may differ between the two trees.

    The result is True if there is no baseline, or if the head is not a commit.
    """
    head = heads.wiring.tree.revision
    if bases is None or not head:
        return True
    base = bases.wiring.tree.revision
    assert base
    repository = heads.wiring.repository
    command = ("diff-tree", "-r", "--name-only", "--ignore-submodules=none", "-z")
    return bool(repository.plumbing(*command, base, head, "--", repository.pathspec(".")))


def differ(heads: ProjectRevision, bases: ProjectRevision | None, paths: Iterable[str]) -> bool:
    """Return whether any of these files differs between the two trees. True if there is no
    baseline."""
    if bases is None:
        return True
    return bool(changed_files(heads, bases, paths))


def _files_by_pipeline(suites: Iterable[Suite]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for suite in suites:
        files.setdefault(suite.pipeline, []).extend([suite.path, *datasets_of([suite])])
    return files


def files_of(version: PipelineVersion) -> list[str]:
    """Return the project files that a pipeline version depends on, including its data source."""
    source = version.plan.pipeline.extract.source
    local = [path for path in local_files(source) if not Path(path).is_absolute()]
    return [*version.plan.dependencies(), *local]


def datasets_of(suites: Iterable[Suite]) -> Iterable[str]:
    """Yield the project files that test files refer to: data sets and evaluator code."""
    for suite in suites:
        yield from local_files(suite.dataset) if suite.dataset else ()
        for test in suite.distributional_tests:
            if isinstance(test, HallucinationRate) and test.evaluator is not None:
                path, _, function = test.evaluator.type.rpartition(":")
                yield from [path] if function else []
