"""Detects GitHub workflows that run for a pull request from a fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.github.workflow import parse_workflow
from loomgit.history.baselines import read_event

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_fork(variables: Mapping[str, str]) -> bool:
    """Return whether a GitHub workflow runs for a pull request from a fork.

    GitHub gives no secrets to such a workflow, so it has no API keys. `variables` are the
    environment variables.
    """
    workflow = parse_workflow(variables, read_event(variables))
    return workflow is not None and workflow.fork
