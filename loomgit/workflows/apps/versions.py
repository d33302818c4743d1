"""The versions of an app in `loom log`, `loom show` and `loom tag`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from loomgit.apps.lifecycle import get_version
from loomgit.domain.apps import PROGRAM_FILE, VERSION_NAME
from loomgit.domain.log import FileLog, LogEntry, MeanScore, StoredScores
from loomgit.errors import UserError
from loomgit.history.app_store import APPS
from loomgit.history.app_tags import added_versions, tag_names, tag_version, version_path
from loomgit.history.trees import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.apps import AppVersion
    from loomgit.domain.versions import FileVersion
    from loomgit.history.app_tags import AddedVersion
    from loomgit.wiring.project import Wiring

_PATH = re.compile(
    rf"\.loom/{APPS}/(?P<app>[^/]+)(?:/artifacts(?:/(?P<version>{VERSION_NAME.pattern}))?)?/?"
)


class AppPath(NamedTuple):
    """A path in a project that refers to an app, or to a version of an app."""

    app: str
    version: str | None


def parse_app_path(path: str) -> AppPath | None:
    """Return the app to which a path in the project refers, or None.

    Examples are `.loom/loop-apps/spam-001` and `.loom/loop-apps/spam-001/artifacts/v2`.
    """
    matched = _PATH.fullmatch(path)
    return None if matched is None else AppPath(matched["app"], matched["version"])


def read_app_log(wiring: Wiring, path: AppPath, limit: int | None) -> FileLog:
    """Return the newest `limit` versions of an app, newest first, with the figures of each.

    Raises UserError if there is no such app or version.
    """
    versions = wiring.apps.versions(path.app)
    chosen = list(reversed(versions.versions))
    if path.version is not None:
        chosen = [get_version(versions, path.version)]
    repository = wiring.repository
    added = added_versions(repository, path.app)
    folders = [version_path(path.app, version.name) for version in chosen]
    names = [f"HEAD:{repository.in_repository(folder)}" for folder in folders]
    trees = [item[0] if item else "" for item in repository.objects(names)]
    entries = [
        _entry(path.app, version, tree, added) for version, tree in zip(chosen, trees, strict=True)
    ]
    shown = f".loom/{APPS}/{path.app}"
    return FileLog(shown, tuple(entries[:limit]), len(entries), repository.is_shallow)


def _entry(app: str, version: AppVersion, tree: str, added: Mapping[str, AddedVersion]) -> LogEntry:
    commit = added.get(version.name) if tree else None
    figures = version.figures
    scores = {}
    if figures is not None and figures.accuracy is not None:
        scores["accuracy"] = MeanScore(figures.accuracy, figures.examples)
    return LogEntry(
        name=version.name,
        blob=tree,
        path=version_path(app, version.name),
        commits=(commit.commit,) if commit else (),
        time=commit.time if commit else "",
        author=commit.author if commit else "",
        subject=commit.subject if commit else "",
        head=bool(tree),
        worktree=not tree,
        measured=StoredScores(cases=figures.examples if figures else 0, scores=scores),
        state=version.state,
    )


def read_program_version(wiring: Wiring, path: AppPath, version: str | None) -> FileVersion:
    """Return the program of an app's version.

    `version` is the name of a version, or a Git revision; the active version at this revision is
    then returned. If it is None, the active version in the working tree is returned. A version that
    is not in the working tree is read from its tag `loop-apps/<app>/<version>`. Raises UserError.
    """
    app = path.app
    if path.version is not None:
        file = wiring.versions.read(f"{version_path(app, path.version)}/{PROGRAM_FILE}", version)
        return replace(file, name=path.version)
    if version is not None and not VERSION_NAME.fullmatch(version):
        return _read_at(wiring, app, version)
    if version is not None and not _has_version(wiring, app, version):
        for tag in tag_names(wiring.repository, app, version):
            if wiring.repository.objects([f"refs/tags/{tag}^{{commit}}"])[0] is not None:
                return _read(wiring, app, version, f"refs/tags/{tag}")
    return _read(wiring, app, get_version(wiring.apps.versions(app), version).name, None)


def _has_version(wiring: Wiring, app: str, version: str) -> bool:
    return wiring.apps.store.version_folder(app, version).is_dir()


def _read_at(wiring: Wiring, app: str, revision: str) -> FileVersion:
    """Return the program of the version that was active at a Git revision."""
    path = f".loom/{APPS}/{app}/artifacts/active"
    commit = wiring.repository.objects([f"{revision}^{{commit}}"])[0]
    text = None if commit is None else Tree(wiring.repository, commit[0]).link_target(path)
    if text is None:
        text = wiring.versions.read(path, revision).text
    name = text.strip().rstrip("/").rpartition("/")[2]
    if not VERSION_NAME.fullmatch(name):
        raise UserError(f"{path} at {revision} contains no name of a version")
    return _read(wiring, app, name, revision)


def _read(wiring: Wiring, app: str, name: str, revision: str | None) -> FileVersion:
    file = wiring.versions.read(f"{version_path(app, name)}/{PROGRAM_FILE}", revision)
    return replace(file, name=name)


def tag_app_version(wiring: Wiring, path: AppPath, version: str) -> str:
    """Tag the committed content of a version as `loop-apps/<app>/<version>`; return the tag.

    Raises UserError if there is no such version, or if it is not committed.
    """
    name = get_version(wiring.apps.versions(path.app), version).name
    return tag_version(wiring.repository, path.app, name)
