"""Describes how the inputs of a stored run differ from the inputs of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.comparison.differences import differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.runs import Run, RunConfig
    from loomgit.pipeline.plan import Plan


def run_differences(plan: Plan, run: Run) -> tuple[str, ...]:
    """Return the inputs of the run that differ from the inputs of the plan.

    The run file contains the inputs of the run. Examples of results are `context taxonomy v1.2`,
    `model openai/gpt-4o`, `vars.tone formal` and `evaluator label`.
    """
    differing = [
        *_contents(plan, run.config),
        *_settings(plan, run.config),
        *_question(plan, run),
        *_files(plan, run),
    ]
    return tuple(dict.fromkeys(differing))


def _contents(plan: Plan, config: RunConfig) -> Iterator[str]:
    if config.prompt_blob != plan.prompt.blob:
        yield f"prompt {config.prompt_version}"
    for name in dict.fromkeys((*plan.context, *config.context_blobs)):
        before = plan.context[name].blob if name in plan.context else None
        now = config.context_blobs.get(name)
        if now is None:
            yield f"no context {name}"
        elif now != before:
            yield f"context {name} {config.context_versions.get(name, now[:8])}"


def _settings(plan: Plan, config: RunConfig) -> Iterator[str]:
    pinned = plan.pipeline.transform.model_version
    program = None if plan.program is None else plan.program.title
    if config.program != program:
        yield f"program {config.program or 'none'}"
    if config.model != plan.model:
        yield f"model {config.model}"
    elif config.model_version != pinned:
        yield f"model version {config.model_version or 'not pinned'}"
    for difference in differences(plan.parameters(), config.parameters):
        yield f"{difference.part} {difference.head}"


def _question(plan: Plan, run: Run) -> Iterator[str]:
    before, now = plan.question(), run.question
    if before["format"] != now.get("format", 1):
        yield f"evaluation format {now.get('format', 1)}"
        return
    old, new = before.get("evaluators"), now.get("evaluators")
    if isinstance(old, dict) and isinstance(new, dict):
        changed = (each.part.partition(".")[0] for each in differences(old, new))
        yield from (f"evaluator {name}" for name in dict.fromkeys(changed))


def _files(plan: Plan, run: Run) -> Iterator[str]:
    """Yield the differences in included templates, evaluator code and other files.

    The pipeline file is ignored, because its settings are compared one by one.
    """
    own = plan.pipeline.path
    files = {**plan.files, **plan.code}
    before = {path: blob for path, blob in files.items() if path != own}
    now = {path: blob for path, blob in run.files.items() if path != own}
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            yield path if path in now else f"no {path}"
