"""GitHub, as a workflow sees it: what was checked out, where the summary goes, what stands at a
line. The variables are those of "Store information in variables" in GitHub's documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.outside import remember

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY_LIMIT = 1_048_576  # bytes a step
_PULL = re.compile(r"refs/pull/(\d+)/")
_ID = re.compile(r"[0-9a-f]{40,64}")


class Workflow(Struct, frozen=True):
    """The run of a workflow. `pull` is the pull request's number, None outside of one; `fork` says
    that it comes from another repository, so that there are no secrets and no right to comment.

    `head` is the commit that somebody pushed, `base` what it is to be compared with where the event
    says so (the pull request's base, the branch before the push), `owner` and `branch` where a
    fork's commits come from; each empty where the event does not say.
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
    """What the environment and the event say; None where this is no workflow of GitHub's.

    The event may be empty: the pull request's number is in the ref too.
    """
    if variables.get("GITHUB_ACTIONS") != "true" and "GITHUB_REPOSITORY" not in variables:
        return None
    repository = variables.get("GITHUB_REPOSITORY", "")
    summary = variables.get("GITHUB_STEP_SUMMARY")
    remember(variables.get("GITHUB_TOKEN"))
    request = _inside(event, "pull_request")
    head = _inside(request, "head")
    base = _text(_inside(request, "base"), "sha")
    pull = request.get("number")
    if not isinstance(pull, int):
        match = _PULL.match(variables.get("GITHUB_REF", ""))
        pull = int(match[1]) if match else None
    fork = bool(head) and _text(_inside(head, "repo"), "full_name") != repository
    elsewhere = _inside(event, "workflow_run")
    if elsewhere:
        source = _inside(elsewhere, "head_repository")
        return Workflow(
            repository,
            _api(variables),
            variables.get("GITHUB_TOKEN", ""),
            head=_commit(_text(elsewhere, "head_sha")),
            owner=_text(_inside(source, "owner"), "login"),
            branch=_text(elsewhere, "head_branch"),
        )
    return Workflow(
        repository,
        _api(variables),
        variables.get("GITHUB_TOKEN", ""),
        pull,
        fork,
        Path(summary) if summary else None,
        head=_commit(_text(head, "sha")),
        base=_commit(base or _text(event, "before")),
    )


def _api(variables: Mapping[str, str]) -> str:
    return variables.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")


def _inside(event: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = event.get(name)
    return found if isinstance(found, dict) else {}


def _text(event: Mapping[str, object], name: str) -> str:
    found = event.get(name)
    return found if isinstance(found, str) else ""


def _commit(name: str) -> str:
    """A commit's id; empty for the zeros of a branch that is new, and for what is none."""
    return name if _ID.fullmatch(name) and name.strip("0") else ""


def annotation(level: str, file: str, line: int, title: str, message: str) -> str:
    """A workflow command that puts a message at a line of a file."""
    place = f"file={_property(file)},line={line},title={_property(title)}"
    return f"::{level} {place}::{_data(message)}"


def notice(level: str, message: str) -> str:
    """A workflow command that shows a message above the run."""
    return f"::{level}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
