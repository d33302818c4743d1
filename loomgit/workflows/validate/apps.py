"""Makes the checklists of the apps of a project: settings, versions and shared artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.apps.program_source import find_source_problem
from loomgit.domain.apps import APP_ID_RULE, PROGRAM_FILE, is_app_id
from loomgit.domain.checks import AppValidation, ValidationCheck
from loomgit.domain.place import describe_problem
from loomgit.errors import LoomError, ProblemsFound, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.place import Problem
    from loomgit.wiring.apps import Apps
    from loomgit.wiring.project import Wiring


def validate_apps(wiring: Wiring) -> list[AppValidation]:
    """Check all apps, without running a program. A fault of an app does not affect other apps."""
    return [_validate(wiring.apps, name) for name in wiring.apps.names()]


def _validate(apps: Apps, app: str) -> AppValidation:
    if not is_app_id(app):
        wrong = UserError(f"the folder '{app}' is not the id of an app", hint=APP_ID_RULE)
        return AppValidation(app, (_failed("Id valid", wrong),))
    errors: list[LoomError] = []
    checks = []
    for text, check in (
        ("Settings valid", _check_settings),
        ("Versions unchanged", _check_versions),
        ("Programs valid", _check_programs),
        ("Dependencies valid", _check_dependencies),
        ("Shared artifacts unchanged", _check_shared),
    ):
        made, error = _run(text, check, apps, app)
        checks.append(made)
        errors += [error] if error else []
    unreachable = bool(errors) and all(not isinstance(error, UserError) for error in errors)
    failed = [check for check in checks if check.ok is False]
    return AppValidation(app, tuple(checks), unreachable=unreachable and len(failed) == len(errors))


def _run(
    text: str, check: Callable[[Apps, str], Sequence[str]], apps: Apps, app: str
) -> tuple[ValidationCheck, LoomError | None]:
    """Return the check with its result, and the error that prevented it."""
    try:
        faults = check(apps, app)
    except LoomError as error:
        return _failed(text, error), error
    if not faults:
        return ValidationCheck(text), None
    problems = tuple(describe_problem(fault, None) for fault in faults)
    return ValidationCheck(text, False, "\n".join(faults), problems), None


def _failed(text: str, error: LoomError) -> ValidationCheck:
    hint = f"\nhint: {error.hint}" if error.hint else ""
    return ValidationCheck(text, False, error.message + hint, tuple(error.documents()))


def _check_settings(apps: Apps, app: str) -> list[str]:
    apps.settings(app)
    return []


def _check_versions(apps: Apps, app: str) -> list[str]:
    versions = apps.versions(app)
    return apps.missing_versions(versions) + [
        fault for version in versions.versions for fault in apps.file_faults(app, version)
    ]


def _check_programs(apps: Apps, app: str) -> list[str]:
    problems = []
    for version in apps.versions(app).versions:
        source = apps.program(app, version.name)
        path = f"{apps.shown(app, version.name)}/{PROGRAM_FILE}"
        if source is not None and (problem := find_source_problem(source, path)):
            problems.append(problem)
    if problems:
        raise ProblemsFound(problems)
    return []


def _check_dependencies(apps: Apps, app: str) -> list[str]:
    problems: list[Problem] = []
    for version in apps.versions(app).versions:
        try:
            dependencies = apps.dependencies(app, version.name)
        except ProblemsFound as error:
            problems += error.problems
        else:
            problems += apps.local_problems(app, version.name, dependencies)
    if problems:
        raise ProblemsFound(problems)
    return []


def _check_shared(apps: Apps, app: str) -> list[str]:
    faults = []
    for version in apps.versions(app).versions:
        if version.state == "deprecated":
            continue  # its artifacts may have been replaced
        try:
            shared = apps.dependencies(app, version.name).shared
        except ProblemsFound:
            continue  # the check of the dependencies reports this
        faults += [
            f"{app} {version.name}: {fault}"
            for artifact in shared
            if (fault := apps.artifact_fault(artifact))
        ]
    return faults
