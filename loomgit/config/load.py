"""Files of a project -> definitions: the door through which every pipeline and test comes in."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from loomgit.config.front_matter import parse_front_matter
from loomgit.config.pipelines import parse_pipeline
from loomgit.config.settings_model import parse_settings
from loomgit.config.yamltext import decode
from loomgit.domain.settings import Settings
from loomgit.errors import UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Collection

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.suites import Suite

__all__ = [
    "load_pipeline",
    "load_settings",
    "load_suite",
    "parse_front_matter",
    "parse_pipeline",
    "parse_settings",
    "read_text",
]

SETTINGS_FILE = PurePath(".loom", "config.yaml")


def load_pipeline(
    path: Path, root: Path, *, known_evaluators: Collection[str] = frozenset()
) -> Pipeline:
    """Read the pipeline file at `path`, absolute or relative to the project at `root`.

    Raises ProblemsFound with every fault of the file, UserError where there is no such file.
    """
    text, shown = _read(path, root)
    return parse_pipeline(text, shown, known_evaluators=known_evaluators)


def load_suite(path: Path, root: Path, *, known_evaluators: Collection[str] = frozenset()) -> Suite:
    """Read the test file at `path`, absolute or relative to the project at `root`.

    Raises ProblemsFound with every fault of the file, UserError where there is no such file.
    """
    from loomgit.config.suites import parse_suite  # noqa: PLC0415 - who runs pipelines has no suites

    text, shown = _read(path, root)
    return parse_suite(text, shown, known_evaluators=known_evaluators)


def load_settings(root: Path) -> Settings:
    """Read `.loom/config.yaml` of the project; a project without one has the defaults."""
    if not (root / SETTINGS_FILE).exists():
        return Settings()
    text, shown = _read(Path(SETTINGS_FILE), root)
    return parse_settings(text, shown)


def read_text(root: Path, path: str) -> str:
    """The text of the project's file at `path`. Raises UserError or WorldError."""
    return _read(Path(path), root)[0]


def _read(path: Path, root: Path) -> tuple[str, str]:
    """The file's text, and its path as messages name it."""
    whole = root / path
    shown = (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()
    try:
        data = whole.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{shown}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{shown}: a directory, not a file") from error
    except PermissionError as error:
        # Windows says this of a directory, too.
        what = "a directory, not a file" if whole.is_dir() else "no permission to read it"
        raise UserError(f"{shown}: {what}") from error
    except OSError as error:
        raise WorldError(f"{shown}: cannot be read: {error.strerror}") from error
    return decode(data, shown), shown
