"""Finds the inputs of a pipeline that differ between two revisions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.comparison.differences import differences
from loomgit.wiring.revision import try_load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loomgit.wiring.revision import PipelineVersion, ProjectRevision

# Matches the lines about files in a result of `changed_inputs`. Lines about settings, such as
# `models.openai/gpt-4o.timeout: 30 -> 60`, do not match.
_CHANGED_FILE = re.compile(
    r"(.+): (?:added|removed|mode \d{6} -> \d{6}|[0-9a-f]{8} -> [0-9a-f]{8})"
)


def modified(bases: ProjectRevision, head: PipelineVersion) -> tuple[str, ...]:
    """Return the reasons why a pipeline counts as modified since the baseline.

    The result is empty if the pipeline is unmodified.
    """
    name = head.plan.pipeline.name
    if name not in bases.catalog.pipeline_names():
        return ("new",)
    base = try_load(bases, name, head.given)
    if isinstance(base, str):
        return (f"the baseline's pipeline cannot be used: {base}",)
    return changed_inputs(base, head)


def changed_inputs(base: PipelineVersion, head: PipelineVersion) -> tuple[str, ...]:
    """Return the inputs of a pipeline that differ between two revisions, one line each."""
    before, after = base.plan.dependencies(), head.plan.dependencies()
    changes = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if old is None or new is None:
            changes.append(f"{path}: {'added' if old is None else 'removed'}")
        elif old[1] == new[1]:
            changes.append(f"{path}: mode {old[0]} -> {new[0]}")
        else:
            changes.append(f"{path}: {old[1][:8]} -> {new[1][:8]}")
    settings = differences(_configured(base), _configured(head))
    return (*changes, *(str(difference) for difference in settings))


def changed_paths(lines: Iterable[str]) -> list[str]:
    """Return the paths of the changed files in `lines`, prompts first.

    `lines` is a result of `changed_inputs`.
    """
    matches = [match for line in lines if (match := _CHANGED_FILE.fullmatch(line))]
    return sorted((match[1] for match in matches), key=lambda path: not path.startswith("prompts/"))


def _configured(version: PipelineVersion) -> dict[str, object]:
    """Return the pipeline's model and judge, and their settings in `.loom/config.yaml`."""
    plan = version.plan
    models = [plan.model, *plan.pipeline.transform.fallback_models]
    reached = {name: dict(plan.endpoints[name]) for name in models if name in plan.endpoints}
    if plan.judge is not None and plan.judge_endpoint:
        reached[plan.judge] = dict(plan.judge_endpoint)
    return {"model": plan.sampling.model, "judge": plan.judge, "models": reached}
