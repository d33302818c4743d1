"""Describes the GitHub workflow in which Loom runs, and renders workflow commands.

A workflow command is a line of output that GitHub interprets, such as `::error::message`. The
environment variables that this module reads are described on the page "Store information in
variables" of GitHub's documentation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.safe_text import remember

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY_LIMIT = 1_048_576  # bytes; GitHub's limit for the summary of one step
_PULL = re.compile(r"refs/pull/(\d+)/")
_ID = re.compile(r"[0-9a-f]{40,64}")


class Workflow(Struct, frozen=True):
    """The run of a GitHub workflow in which Loom runs.

    `repository` is `owner/name`, `api` is the URL of GitHub's REST API, and `summary` is the file
    for the step's summary. `pull` is the number of the pull request, or None if the number is
    unknown. `fork` is true if the pull request comes from another repository; the workflow then
    has no secrets and may not comment.

    `head` is the newest commit of the pull request. `base` is the commit to compare with: the base
    of the pull request, or the branch's commit before the push. For the event `workflow_run`,
    `branch` is the branch that contains `head`, and `owner` is the owner of that branch's
    repository. A field is empty if the event does not contain its value.
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
    """Return the current workflow run, or None outside a GitHub workflow.

    `variables` are the environment variables, and `event` is the JSON object of the event. If the
    event does not contain the number of the pull request, it is read from the ref.
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
    """Return `name` if it is the id of a commit, else an empty text.

    If a push creates a branch, GitHub reports an id of zeros as the previous commit.
    """
    return name if _ID.fullmatch(name) and name.strip("0") else ""


def render_annotation(level: str, file: str, line: int, title: str, message: str) -> str:
    """Return a workflow command that annotates a line of a file.

    `level` is `notice`, `warning` or `error`.
    """
    place = f"file={_property(file)},line={line},title={_property(title)}"
    return f"::{level} {place}::{_data(message)}"


def render_notice(level: str, message: str) -> str:
    """Return a workflow command that shows a message on the page of the workflow run."""
    return f"::{level}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
