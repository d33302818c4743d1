"""What makes a pipeline `modified`: the inputs that differ between two trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.harness.differences import differences
from loomgit.wiring.bench import readable

if TYPE_CHECKING:
    from loomgit.wiring.bench import Bench, Subject


def modified(bases: Bench, head: Subject) -> tuple[str, ...]:
    """What makes a pipeline `modified` against the baseline's tree; empty where it is not."""
    name = head.plan.pipeline.name
    if name not in bases.catalog.pipeline_names():
        return ("new",)
    base = readable(bases, name, head.plan.variables)
    if isinstance(base, str):
        return (f"the baseline's pipeline cannot be used: {base}",)
    return changed_inputs(base, head)


def changed_inputs(base: Subject, head: Subject) -> tuple[str, ...]:
    """Which inputs of a pipeline differ between two trees, and how: what makes it `modified`."""
    before, after = base.plan.dependencies(), head.plan.dependencies()
    found = []
    for path in sorted({*before, *after}):
        one, two = before.get(path), after.get(path)
        if one == two:
            continue
        if one is None or two is None:
            found.append(f"{path}: {'added' if one is None else 'removed'}")
        elif one[1] == two[1]:
            found.append(f"{path}: mode {one[0]} -> {two[0]}")
        else:
            found.append(f"{path}: {one[1][:8]} -> {two[1][:8]}")
    settings = differences(_configured(base), _configured(head))
    return (*found, *(str(difference) for difference in settings))


def _configured(subject: Subject) -> dict[str, object]:
    """What a pipeline takes from `.loom/config.yaml` besides its own files."""
    plan = subject.plan
    models = [plan.model, *plan.pipeline.transform.fallback_models]
    reached = {name: dict(plan.endpoints[name]) for name in models if name in plan.endpoints}
    if plan.judge is not None and plan.judge_endpoint:
        reached[plan.judge] = dict(plan.judge_endpoint)
    return {"model": plan.sampling.model, "judge": plan.judge, "models": reached}
