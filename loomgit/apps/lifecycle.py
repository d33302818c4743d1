"""The lifecycle of versions (draft, validated, active, deprecated) and of apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import UserError

if TYPE_CHECKING:
    from loomgit.domain.apps import (
        AppSettings,
        AppState,
        AppVersion,
        AppVersions,
        VersionFigures,
        VersionState,
    )

# The commands that lead from a state of an app to another one.
APP_COMMANDS: dict[AppState, str] = {"active": "resume", "paused": "pause", "archived": "archive"}


def get_version(versions: AppVersions, name: str | None) -> AppVersion:
    """Return a version, or the active version if `name` is None. Raises UserError."""
    app = versions.app
    if name is None:
        if versions.active is None:
            hint = f"use --version {versions.versions[-1].name}" if versions.versions else None
            raise UserError(
                f"the app {app} has no active version",
                hint=f"`loom app promote {app} VERSION` makes a validated version active"
                + (f", or {hint}" if hint else ""),
            )
        name = versions.active
    version = versions.find(name)
    if version is None:
        names = [each.name for each in versions.versions]
        hint = did_you_mean(name, names) or (f"its versions: {', '.join(names)}" if names else None)
        raise UserError(f"the app {app} has no version {name}", hint=hint)
    return version


def promote(versions: AppVersions, name: str) -> AppVersions:
    """Make a validated version active. The version that was active before becomes validated.

    Raises UserError if the version is a draft, deprecated or already active.
    """
    version, app = get_version(versions, name), versions.app
    if version.state == "active":
        raise UserError(f"{app} {name} is already active")
    if version.state == "draft":
        raise UserError(
            f"{app} {name} is a draft, and only a validated version can become active",
            hint=f"run `loom app validate {app} --version {name} --examples FILE`",
        )
    if version.state == "deprecated":
        raise UserError(
            f"{app} {name} is deprecated",
            hint=f"`loom app add {app} --artifact DIR` adds its files as a new version",
        )
    earlier = tuple(each for each in versions.earlier if each != name)
    if versions.active is not None:
        earlier = (*earlier, versions.active)
    return replace(_activate(versions, name), earlier=earlier)


def rollback(versions: AppVersions) -> AppVersions:
    """Make the version active that was active before. Raises UserError if no such version exists.

    Versions that were deprecated or removed in the meantime are skipped.
    """
    remaining = list(versions.earlier)
    while remaining:
        name = remaining.pop()
        version = versions.find(name)
        if name == versions.active or version is None or version.state == "deprecated":
            continue
        return replace(_activate(versions, name), earlier=tuple(remaining))
    raise UserError(
        f"the app {versions.app} has no earlier active version",
        hint=f"`loom app promote {versions.app} VERSION` makes another version active",
    )


def deprecate(versions: AppVersions, name: str) -> AppVersions:
    """Mark a version as deprecated, so that it cannot become active.

    Raises UserError if the version is active or already deprecated.
    """
    version, app = get_version(versions, name), versions.app
    if version.state == "active":
        raise UserError(
            f"{app} {name} is active",
            hint=f"run `loom app promote {app} VERSION` or `loom app rollback {app}` first",
        )
    if version.state == "deprecated":
        raise UserError(f"{app} {name} is already deprecated")
    return _with_state(versions, name, "deprecated")


def record_figures(
    versions: AppVersions, name: str, figures: VersionFigures, *, passed: bool
) -> AppVersions:
    """Store the figures of a validation.

    A draft that passed becomes validated, and a validated version that failed becomes a draft. The
    state of an active or deprecated version does not change.
    """
    version = get_version(versions, name)
    state = version.state
    if state in ("draft", "validated"):
        state = "validated" if passed else "draft"
    changed = replace(version, figures=figures, state=state)
    return _replace(versions, changed)


def require_state(settings: AppSettings, state: AppState) -> None:
    """Raise UserError if an app cannot get the state `state`.

    An app that has the state already is refused, and an archived app can only become active.
    """
    current, app = settings.state, settings.id
    if current == state:
        raise UserError(f"the app {app} is already {state}")
    if current == "archived" and state == "paused":
        raise UserError(
            f"the app {app} is archived",
            hint=f"run `loom app {APP_COMMANDS['active']} {app}` first",
        )


def require_running(settings: AppSettings) -> None:
    """Raise UserError if an app is paused or archived, so that its programs are not run."""
    if settings.state != "active":
        raise UserError(
            f"the app {settings.id} is {settings.state}",
            hint=f"`loom app {APP_COMMANDS['active']} {settings.id}` makes it active again",
        )


def _activate(versions: AppVersions, name: str) -> AppVersions:
    if versions.active is not None:
        versions = _with_state(versions, versions.active, "validated")
    return replace(_with_state(versions, name, "active"), active=name)


def _with_state(versions: AppVersions, name: str, state: VersionState) -> AppVersions:
    version = versions.find(name)
    return versions if version is None else _replace(versions, replace(version, state=state))


def _replace(versions: AppVersions, changed: AppVersion) -> AppVersions:
    return replace(
        versions,
        versions=tuple(
            changed if each.name == changed.name else each for each in versions.versions
        ),
    )
