"""Changes the states of apps and versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.apps.examples import missed_targets
from loomgit.apps.lifecycle import deprecate, get_version, promote, require_state, rollback
from loomgit.config.app_model import with_state
from loomgit.errors import UserError
from loomgit.history.app_tags import tag_version

if TYPE_CHECKING:
    from loomgit.domain.apps import AppState, AppVersions
    from loomgit.wiring.project import Wiring


class VersionChange(Struct, frozen=True):
    """The effect of a command on the versions of an app.

    `before` and `active` are the names of the version that was active, and of the version that is
    active now. `tag` is the name of the new Git tag, or None.
    """

    app: str
    version: str
    state: str
    before: str | None
    active: str | None
    tag: str | None = None


def promote_version(wiring: Wiring, app: str, version: str, *, tag: bool) -> VersionChange:
    """Make a validated version active.

    If `tag` is true, its committed content gets the Git tag `loop-apps/<app>/<version>`. Raises
    UserError if the lifecycle does not allow this, if the figures of the version miss the present
    targets of the app, or if a file of the version has changed.
    """
    apps = wiring.apps
    settings, versions = apps.settings(app), apps.versions(app)
    promote(versions, version)  # raises UserError
    loaded = apps.load_version(settings, versions, version)
    figures = loaded.version.figures
    if figures is not None and (reasons := missed_targets(settings, figures)):
        raise UserError(
            f"{app} {version}: {'; '.join(reasons)}",
            hint="the targets have changed since `loom app validate` ran",
        )
    name = tag_version(wiring.repository, app, version) if tag else None
    after = apps.store.change_versions(app, lambda current: promote(current, version))
    return VersionChange(app, version, "active", versions.active, after.active, name)


def roll_back(wiring: Wiring, app: str) -> VersionChange:
    """Make the version active that was active before.

    Raises UserError if no such version exists, or if one of its files has changed.
    """
    apps = wiring.apps
    versions = apps.versions(app)
    target = rollback(versions).active
    assert target is not None  # `rollback` raises UserError instead
    apps.load_version(apps.settings(app), versions, target)
    before: list[str | None] = []

    def change(current: AppVersions) -> AppVersions:
        before.append(current.active)
        return rollback(current)

    after = apps.store.change_versions(app, change)
    return VersionChange(app, after.active or target, "active", before[0], after.active)


def deprecate_version(wiring: Wiring, app: str, version: str) -> VersionChange:
    """Mark a version as deprecated. Raises UserError if it is active or already deprecated."""
    wiring.apps.versions(app)  # raises UserError if there is no such app
    after = wiring.apps.store.change_versions(app, lambda current: deprecate(current, version))
    state = get_version(after, version).state
    return VersionChange(app, version, state, after.active, after.active)


def set_state(wiring: Wiring, app: str, state: AppState) -> None:
    """Change the state of an app in its `config.yaml`; all other lines do not change.

    Raises UserError if the app has this state already, or if the file must be edited by hand.
    """
    apps = wiring.apps
    apps.settings(app)  # raises UserError if there is no such app
    with apps.store.lock(app):
        require_state(apps.settings(app), state)
        text, path = apps.config(app)
        changed = with_state(text, path, app, state)
        if changed is None:
            raise UserError(
                f"{path}: the state cannot be changed without changing other lines",
                hint=f"write `lifecycle: {state}` into the file",
            )
        apps.store.write_config(app, changed)
