"""Creates apps and adds versions.

A strategy makes the files of a version from the settings of an app and from examples. Each strategy
is a function in `STRATEGIES`. The files of a version can also be given; its strategy is `manual`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.app_model import make_config, parse_specification
from loomgit.config.project_files import read
from loomgit.domain.apps import APP_ID_RULE, DEPENDENCIES_FILE, PROGRAM_FILE, is_app_id
from loomgit.domain.suggestions import did_you_mean
from loomgit.domain.training import TrainingReport
from loomgit.domain.values import JsonMapping
from loomgit.errors import UserError
from loomgit.workflows.apps.artifact_files import (
    check_files,
    describe_files,
    read_artifact,
    read_program,
)
from loomgit.workflows.apps.execute import PRIVACY_WARNING, utc_now
from loomgit.workflows.apps.inputs import read_examples
from loomgit.workflows.apps.ml_strategy import train_program

if TYPE_CHECKING:
    from loomgit.apps.examples import AppExample
    from loomgit.domain.apps import AppSettings
    from loomgit.wiring.project import Wiring

MANUAL = "manual"


class Synthesis(Struct, frozen=True):
    """The files of a version that a strategy made, by their relative paths, and its report.

    The files contain `program.py`. The report is stored in `metadata.json`. If the program was
    trained, `training` is the part of the report about its quality.
    """

    files: Mapping[str, bytes]
    report: JsonMapping
    training: TrainingReport | None = None


Strategy = Callable[["AppSettings", "list[AppExample]"], Synthesis]


def _train(settings: AppSettings, examples: list[AppExample]) -> Synthesis:
    trained = train_program(settings, examples)
    report = {**trained.report.document(), "training_settings": dict(trained.metadata)}
    return Synthesis(trained.files, report, trained.report)


STRATEGIES: dict[str, Strategy] = {"ml": _train}


class NewVersion(Struct, frozen=True):
    """A version that was added to an app.

    `report` is the report of its strategy, or None. `training` is the part of the report about the
    quality of a trained program.
    """

    app: str
    version: str
    strategy: str
    files: tuple[str, ...]
    report: JsonMapping | None = None
    training: TrainingReport | None = None


def create_app(wiring: Wiring, app: str, spec: Path, source: VersionSource) -> NewVersion:
    """Create an app from the specification in the file `spec`, with the version v1 as a draft.

    Raises UserError or ProblemsFound if a file is invalid or if the app exists, and WorldError. In
    these cases, nothing is written.
    """
    if not is_app_id(app):
        raise UserError(f"'{app}' is not the id of an app", hint=APP_ID_RULE)
    text, shown = read(spec, Path.cwd())
    settings = parse_specification(text, shown, app)
    config = make_config(text, shown, app)
    made = source.make(settings)
    metadata = describe_files(
        app, "v1", made.files, now=utc_now(), strategy=source.strategy, report=made.report or None
    )
    wiring.apps.store.create(app, config, made.files, metadata)
    if settings.privacy == "balanced":
        wiring.warn(PRIVACY_WARNING)
    return NewVersion(
        app, "v1", source.strategy, tuple(sorted(made.files)), metadata.report, made.training
    )


def add_version(wiring: Wiring, app: str, source: VersionSource) -> NewVersion:
    """Add the next version of an app as a draft. Raises as `create_app`."""
    settings = wiring.apps.settings(app)
    made = source.make(settings)
    now = utc_now()
    name = wiring.apps.store.add_version(
        app,
        made.files,
        lambda name: describe_files(
            app, name, made.files, now=now, strategy=source.strategy, report=made.report or None
        ),
    )
    return NewVersion(
        app, name, source.strategy, tuple(sorted(made.files)), made.report or None, made.training
    )


class VersionSource(Struct, frozen=True):
    """Where the files of a new version come from: a program, a folder, or a strategy.

    `examples` is the path of the file with the examples for the strategy, and `label` the name of
    the field with the expected output.
    """

    program: Path | None = None
    artifact: Path | None = None
    strategy: str = MANUAL
    examples: str | None = None
    label: str | None = None

    def make(self, settings: AppSettings) -> Synthesis:
        """Return the checked files. Raises UserError, ProblemsFound or WorldError."""
        shown: dict[str, str] = {}
        if self.program is not None:
            made = Synthesis(read_program(self.program), {})
            shown = {PROGRAM_FILE: str(self.program)}
        elif self.artifact is not None:
            made = Synthesis(read_artifact(self.artifact), {})
            shown = {name: str(self.artifact / name) for name in (PROGRAM_FILE, DEPENDENCIES_FILE)}
        else:
            strategy = STRATEGIES.get(self.strategy)
            if strategy is None:
                hint = did_you_mean(self.strategy, STRATEGIES) or "use --program or --artifact"
                raise UserError(f"there is no strategy '{self.strategy}'", hint=hint)
            examples = read_examples(self.examples, self.label, settings) if self.examples else []
            made = strategy(settings, examples)
        check_files(made.files, shown)
        return made
