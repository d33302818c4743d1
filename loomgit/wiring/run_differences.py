"""What differs between the inputs of a stored run and those of a pipeline at a commit, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.harness.differences import differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.runs import Run, RunConfig
    from loomgit.pipeline.plan import Plan


def run_differences(plan: Plan, run: Run) -> tuple[str, ...]:
    """What differs in a run, as far as run files record it: `context taxonomy v1.2`,
    `model openai/gpt-4o`, `vars.tone formal`, `evaluator label`. Empty where nothing recorded
    differs."""
    found = [
        *_contents(plan, run.config),
        *_settings(plan, run.config),
        *_question(plan, run),
        *_files(plan, run),
    ]
    return tuple(dict.fromkeys(found))


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
    if config.model != plan.model:
        yield f"model {config.model}"
    elif config.model_version != pinned:
        yield f"model version {config.model_version or 'not pinned'}"
    for found in differences(plan.parameters(), config.parameters):
        yield f"{found.part} {found.head}"


def _question(plan: Plan, run: Run) -> Iterator[str]:
    before, now = plan.question(), run.question
    if before["format"] != now.get("format", 1):
        yield f"evaluation format {now.get('format', 1)}"
        return
    one, two = before.get("evaluators"), now.get("evaluators")
    if isinstance(one, dict) and isinstance(two, dict):
        changed = (found.part.partition(".")[0] for found in differences(one, two))
        yield from (f"evaluator {name}" for name in dict.fromkeys(changed))


def _files(plan: Plan, run: Run) -> Iterator[str]:
    """Included templates, code of evaluators and documents; the pipeline file says nothing by
    itself."""
    own = plan.pipeline.path
    held = {**plan.files, **plan.code}
    before = {path: blob for path, blob in held.items() if path != own}
    now = {path: blob for path, blob in run.files.items() if path != own}
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            yield path if path in now else f"no {path}"
