"""The GitHub workflow in which Loom runs, and workflow commands.

The environment variables are documented in "Store information in variables" on GitHub.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.safe_text import remember

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY_LIMIT = 1_048_576  # bytes; GitHub's limit for one step
_PULL = re.compile(r"refs/pull/(\d+)/")
_ID = re.compile(r"[0-9a-f]{40,64}")


class Workflow(Struct, frozen=True):
    """One run of a workflow.

    `pull` is the number of the pull request, or None if the run is not for a pull request. `fork`
    means that the pull request comes from another repository; then the workflow has no secrets and
    may not comment.

    `head` is the pushed commit. `base` is the commit to compare it with: the base of the pull
    request, or the branch's commit before the push. `owner` and `branch` are where the commits of a
    fork come from. A field is empty if the event does not contain its value.
    """

    repository: str
    api: str
    token: str
    pull: int | None = None
    fork: bool = False
    summary: Path | None = None
    head: str = ""
    base: str = ""
    owner: str = ""
    branch: str = ""


def parse_workflow(variables: Mapping[str, str], event: Mapping[str, object]) -> Workflow | None:
    """Parse the environment and the event; return None outside a GitHub workflow.

    If the event is empty, the number of the pull request is read from the ref.
    """
    if variables.get("GITHUB_ACTIONS") != "true" and "GITHUB_REPOSITORY" not in variables:
        return None
    repository = variables.get("GITHUB_REPOSITORY", "")
    summary = variables.get("GITHUB_STEP_SUMMARY")
    remember(variables.get("GITHUB_TOKEN"))
    request = _get_object(event, "pull_request")
    head = _get_object(request, "head")
    base = _get_text(_get_object(request, "base"), "sha")
    pull = request.get("number")
    if not isinstance(pull, int):
        match = _PULL.match(variables.get("GITHUB_REF", ""))
        pull = int(match[1]) if match else None
    fork = bool(head) and _get_text(_get_object(head, "repo"), "full_name") != repository
    triggering_run = _get_object(event, "workflow_run")
    if triggering_run:
        source = _get_object(triggering_run, "head_repository")
        return Workflow(
            repository,
            _api(variables),
            variables.get("GITHUB_TOKEN", ""),
            head=_commit(_get_text(triggering_run, "head_sha")),
            owner=_get_text(_get_object(source, "owner"), "login"),
            branch=_get_text(triggering_run, "head_branch"),
        )
    return Workflow(
        repository,
        _api(variables),
        variables.get("GITHUB_TOKEN", ""),
        pull,
        fork,
        Path(summary) if summary else None,
        head=_commit(_get_text(head, "sha")),
        base=_commit(base or _get_text(event, "before")),
    )


def _api(variables: Mapping[str, str]) -> str:
    return variables.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")


def _get_object(event: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _get_text(event: Mapping[str, object], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _commit(name: str) -> str:
    """Return the id of a commit, or empty text for other text and the zeros of a new branch."""
    return name if _ID.fullmatch(name) and name.strip("0") else ""


def render_annotation(level: str, file: str, line: int, title: str, message: str) -> str:
    """Return a workflow command that annotates a line of a file."""
    place = f"file={_property(file)},line={line},title={_property(title)}"
    return f"::{level} {place}::{_data(message)}"


def render_notice(level: str, message: str) -> str:
    """Return a workflow command that shows a message on the page of the workflow run."""
    return f"::{level}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
