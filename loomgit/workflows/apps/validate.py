"""Validates a version of an app: runs it on examples and compares the figures with the targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.apps.examples import is_equal, measure, missed_targets
from loomgit.apps.lifecycle import record_figures
from loomgit.apps.outputs import AppSchemas
from loomgit.domain.apps import VersionFigures, VersionState
from loomgit.domain.values import Json
from loomgit.errors import UserError
from loomgit.history.file_hashes import FileHashes
from loomgit.workflows.apps.execute import execute_version, utc_now
from loomgit.workflows.apps.inputs import read_examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.apps.examples import AppExample
    from loomgit.domain.apps import AppExecution, AppSettings
    from loomgit.domain.programs import IsolationChoice
    from loomgit.wiring.project import Wiring

MOST_FAILURES = 20  # the number of wrong examples in the result


class WrongExample(Struct, frozen=True):
    """An example with a wrong output, or without a valid output. `number` starts at 1."""

    number: int
    input: Json
    expected: Json
    output: Json
    error: str


class VersionValidation(Struct, frozen=True):
    """The result of a validation.

    `figures` is None if no examples were given; only the files were checked then. `reasons` are the
    missed targets. `wrong` are the first wrong examples.
    """

    app: str
    version: str
    before: VersionState
    state: VersionState
    figures: VersionFigures | None = None
    reasons: tuple[str, ...] = ()
    wrong: tuple[WrongExample, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no target was missed."""
        return not self.reasons


def validate_version(
    wiring: Wiring,
    app: str,
    version: str | None,
    *,
    examples_file: str | None,
    label: str | None,
    isolation: IsolationChoice,
) -> VersionValidation:
    """Check the files of a version, run it on the examples, and store its figures and its state.

    If `version` is None, it is the newest version that is not deprecated. Without examples, the
    state does not change. The examples are not written to the execution log. Raises UserError,
    ProblemsFound or WorldError if the version cannot be judged.
    """
    apps = wiring.apps
    settings, versions = apps.settings(app), apps.versions(app)
    if version is None:
        candidates = [each.name for each in versions.versions if each.state != "deprecated"]
        if not candidates:
            raise UserError(f"the app {app} has no version to validate")
        version = candidates[-1]
    loaded = apps.load_version(settings, versions, version)
    state = loaded.version.state
    if examples_file is None:
        return VersionValidation(app, version, state, state)
    examples = read_examples(examples_file, label, settings)
    _require_valid(examples, examples_file, settings)
    if settings.accuracy_target is not None and not examples[0].labelled:
        raise UserError(
            f"{examples_file}: the app has an accuracy_target, and the examples have no labels",
            hint="use --label FIELD to name the field with the expected output",
        )
    executions = execute_version(wiring, loaded, [each.input for each in examples], isolation)
    figures = measure(
        examples,
        executions,
        file=_portable(wiring, examples_file),
        sha256=FileHashes().sha256(Path(examples_file)),
        validated_at=f"{utc_now():%Y-%m-%dT%H:%M:%SZ}",
    )
    reasons = missed_targets(settings, figures)
    name = version
    after = apps.store.change_versions(
        app, lambda current: record_figures(current, name, figures, passed=not reasons)
    )
    changed = after.find(name)
    assert changed is not None  # `record_figures` keeps all versions
    return VersionValidation(
        app, name, state, changed.state, figures, tuple(reasons), _wrong(examples, executions)
    )


def _portable(wiring: Wiring, file: str) -> str:
    """Return the path in the project, else only the name, because Git tracks the figures."""
    path = Path(file).resolve()
    root = wiring.root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _require_valid(examples: Sequence[AppExample], file: str, settings: AppSettings) -> None:
    """Raise UserError if an input or an expected output does not match its schema."""
    schemas = AppSchemas(settings.input_schema, settings.output_schema)
    for number, example in enumerate(examples, 1):
        if fault := schemas.input_fault(example.input):
            raise UserError(f"{file}: the input of example {number} is invalid: {fault}")
        if example.labelled and (fault := schemas.output_fault(example.expected)):
            raise UserError(f"{file}: the expected output of example {number} is invalid: {fault}")


def _wrong(
    examples: Sequence[AppExample], executions: Sequence[AppExecution]
) -> tuple[WrongExample, ...]:
    wrong = []
    for number, (example, execution) in enumerate(zip(examples, executions, strict=True), 1):
        failed = execution.status != "ok"
        if failed or (example.labelled and not is_equal(execution.output, example.expected)):
            wrong.append(
                WrongExample(
                    number, example.input, example.expected, execution.output, execution.error
                )
            )
        if len(wrong) == MOST_FAILURES:
            break
    return tuple(wrong)
