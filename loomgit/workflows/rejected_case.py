"""Adds a rejected record as a unit test to a test file of its pipeline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.project_files import read
from loomgit.config.suite_text import NewUnitTest, add_unit_test, render_new_suite
from loomgit.domain.safe_text import escape_controls, hide
from loomgit.errors import UserError
from loomgit.history.atomic_files import write_atomic
from loomgit.wiring.catalog import EVALUATOR_PLUGINS, SUITE_ENDINGS, TESTS
from loomgit.workflows.quarantine import find_entries

if TYPE_CHECKING:
    from collections.abc import Collection

    from loomgit.domain.quarantine import QuarantineEntry
    from loomgit.wiring.project import Wiring

_LONGEST_NAME, _LONGEST_REASON = 60, 200  # characters


class AddedTest(Struct, frozen=True):
    """The unit test that was added: its file and name, and the record that it contains."""

    file: str
    name: str
    pipeline: str
    record_key: str
    created: bool


def add_test_case(wiring: Wiring, key: str, pipeline: str | None, file: str | None) -> AddedTest:
    """Append a rejected record as a unit test to a test file, and create the file if necessary.

    `file` is a path in the project; the default is the test file of the pipeline. Raises UserError
    if the key or the file is invalid, ProblemsFound if the file is not a valid test file, and
    WorldError if it cannot be written.
    """
    entry = find_entries(wiring, [key], pipeline)[key][0]
    if entry.stage == "extract":
        raise UserError(
            f"the record '{key}' could not be read from its source, so it cannot be a test"
        )
    wiring.catalog.pipeline(entry.pipeline)  # a test of a pipeline that does not exist cannot run
    path = _default_path(wiring, entry.pipeline) if file is None else _path(wiring, file)
    target = wiring.root / path
    if created := not target.exists():
        test = _unit_test(entry, ())
        content = render_new_suite(entry.pipeline, test)
    else:
        suite = wiring.catalog.suite(path)
        if suite.pipeline != entry.pipeline:
            raise UserError(
                f"{path}: tests the pipeline {suite.pipeline}, and the record is of "
                f"{entry.pipeline}",
                hint="use --file with another file",
            )
        test = _unit_test(entry, [each.name for each in suite.unit_tests])
        text, _ = read(target, wiring.root)
        content = add_unit_test(text, path, test, EVALUATOR_PLUGINS)
    write_atomic(target.resolve(), content.encode())  # a symbolic link keeps its target
    return AddedTest(path, test.name, entry.pipeline, entry.record_key, created)


def _default_path(wiring: Wiring, pipeline: str) -> str:
    """Return the path of the pipeline's first test file, or of the test file to create."""
    path = f"{TESTS}/{pipeline}_test.yaml"
    if (wiring.root / path).exists():
        return path
    suites, _ = wiring.catalog.readable_suites()
    return next((suite.path for suite in suites if suite.pipeline == pipeline), path)


def _path(wiring: Wiring, file: str) -> str:
    """Return the path of a test file in the project. Raises UserError if it is not collected."""
    root = wiring.root.resolve()
    here = (Path.cwd() / file).resolve()
    whole = here if here.is_relative_to(root) else (root / file).resolve()
    path = whole.relative_to(root).as_posix() if whole.is_relative_to(root) else file
    if not path.startswith(f"{TESTS}/") or not path.endswith(SUITE_ENDINGS):
        raise UserError(
            f"{file}: is not the path of a test file",
            hint=f"use a path such as {TESTS}/NAME{SUITE_ENDINGS[0]}",
        )
    if whole.is_dir():
        raise UserError(f"{path}: is a folder, not a file")
    return path


def _unit_test(entry: QuarantineEntry, names: Collection[str]) -> NewUnitTest:
    reason = escape_controls(" ".join(hide(entry.reason).split()))
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}..."
    return NewUnitTest(
        name=_unique_name(entry.record_key, names),
        comment=(f"Rejected by run {entry.run_id} at the stage {entry.stage}: {reason}",),
        input=entry.record,
        rejected=entry.output,
    )


def _unique_name(key: str, names: Collection[str]) -> str:
    """Return the name of the test of a record: `rejected_r-1`, or `rejected_r-1_2` and so on."""
    plain = re.sub(r"[^\w.-]+", "_", key)[:_LONGEST_NAME].strip("_")
    name = first = f"rejected_{plain or 'record'}"
    number = 1
    while name in names:
        number += 1
        name = f"{first}_{number}"
    return name
