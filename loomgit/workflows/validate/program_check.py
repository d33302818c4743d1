"""Checks the program that transforms the records of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.apps.outputs import AppSchemas
from loomgit.domain.checks import ValidationCheck
from loomgit.domain.place import Problem
from loomgit.errors import LoomError
from loomgit.wiring.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.apps import AppProgram
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.records import Record
    from loomgit.wiring.assembly import Assembly

    Fault = Callable[[str, LoomError | Sequence[Problem]], ValidationCheck]


def check_program(
    assembly: Assembly, pipeline: Pipeline, records: Sequence[Record], fault: Fault
) -> list[ValidationCheck]:
    """Return the checks of the program, which is not executed.

    `records` are the first records of the source. `fault` makes a failed check. The list is empty
    if the pipeline has no program.
    """
    if pipeline.transform.type != "program":
        return []
    try:
        program = find_program(assembly.wiring, pipeline)
    except LoomError as error:
        return [fault(f"{pipeline.transform.app} exists", error)]
    checks = [ValidationCheck(f"{program.title} exists")]
    unchanged = "Files and shared artifacts unchanged"
    try:
        apps, app = assembly.wiring.apps, program.settings.id
        apps.load_version(program.settings, apps.versions(app), program.version)
        checks.append(ValidationCheck(unchanged))
    except LoomError as error:
        checks.append(fault(unchanged, error))
    return checks + _check_inputs(pipeline, program, records, fault)


def _check_inputs(
    pipeline: Pipeline, program: AppProgram, records: Sequence[Record], fault: Fault
) -> list[ValidationCheck]:
    """Check that at least one of the first records matches the input schema of the app."""
    text = "Records match the input schema"
    settings = program.settings
    schemas = AppSchemas(settings.input_schema, settings.output_schema)
    faults = [schemas.input_fault(record.input) for record in records]
    if not faults:
        return []
    if all(faults):
        message = f"transform.app: the records do not match input_schema: {faults[0]}"
        return [fault(text, [Problem(pipeline.place("transform.app"), message)])]
    return [ValidationCheck(text)]
