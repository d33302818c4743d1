"""Runs an app on the inputs of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.workflows.apps.execute import run_app
from loomgit.workflows.apps.inputs import parse_input, read_inputs

if TYPE_CHECKING:
    from loomgit.domain.apps import AppExecution
    from loomgit.domain.programs import IsolationChoice
    from loomgit.wiring.project import Wiring


def run_on_inputs(
    wiring: Wiring,
    app: str,
    version: str | None,
    text: str | None,
    file: str | None,
    isolation: IsolationChoice,
) -> list[AppExecution]:
    """Run an app on the JSON `text` or on the inputs in `file`; one of them is not None.

    Returns at least one execution. Raises UserError, ProblemsFound or WorldError.
    """
    inputs = [parse_input(text)] if text is not None else read_inputs(file or "")
    if not inputs:
        raise UserError(f"{file}: contains no input")
    return run_app(wiring, app, version, inputs, isolation)
