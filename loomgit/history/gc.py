"""Garbage collection: removes the stored runs that are no longer needed."""

from __future__ import annotations

import contextlib
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.errors import WorldError
from loomgit.history.atomic_files import remove_stale_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from loomgit.domain.runs import RunSummary
    from loomgit.history.repository import Repository
    from loomgit.history.store import RunStore

DAYS = 90
KEEP = 20
ORPHAN_AGE = timedelta(days=1)  # a younger records file may belong to a run that is still running
_ID = re.compile(r"[0-9a-f]{40,64}")


class Reachability(Struct, frozen=True):
    """The result of `find_reachable`. The commits in `reached` are reachable from a ref.

    The commits in `unknown` may be reachable through history that a shallow clone lacks. In a full
    clone, `unknown` is empty.
    """

    reached: frozenset[str]
    unknown: frozenset[str] = frozenset()


class RemovedRun(Struct, frozen=True):
    """A removed run. `bytes` is the total size of its run file and its records file."""

    uid: str
    run_id: str
    pipeline: str
    started: str
    bytes: int


class GcResult(Struct, frozen=True):
    """The runs that a collection removed, or would remove in a dry run.

    `unfinished` are the runs that can no longer be resumed, because their state was removed.
    `orphans` are removed records files that belonged to no run. `bytes` is the total freed size.
    `kept` is the number of kept runs. `unknown` is the number of runs that are kept only because
    this clone is shallow: their commits may be reachable through history that the clone lacks.
    """

    runs: tuple[RemovedRun, ...]
    orphans: tuple[str, ...]
    bytes: int
    kept: int
    unknown: int
    unfinished: tuple[RemovedRun, ...] = ()


def find_reachable(git: Repository, commits: Iterable[str]) -> Reachability:
    """Check which of `commits` are reachable from a ref or from the HEAD of a worktree.

    Refs are branches, tags, remote branches and the stash.
    """
    ids = sorted({commit for commit in commits if _ID.fullmatch(commit)})
    objects = zip(ids, git.objects(ids), strict=True)
    present = [name for name, item in objects if item is not None and item[1] == "commit"]
    reached = frozenset(present)
    if present:
        # --all includes the HEADs of all worktrees.
        lines = "".join(f"{commit}\n" for commit in present).encode()
        output = git.plumbing("rev-list", "--stdin", "--not", "--all", stdin=lines)
        reached -= frozenset(output.decode().split())
    # In a shallow clone, a commit that is missing or seems unreachable may be reachable through the
    # history that was not fetched.
    return Reachability(reached, frozenset(ids) - reached if git.is_shallow else frozenset())


def choose_removals(
    rows: Sequence[RunSummary], reach: Reachability, *, now: datetime, days: int, keep: int
) -> tuple[list[RunSummary], int]:
    """Return the runs to remove (oldest first), and the number of runs that are kept for safety.

    A run is kept if one of these conditions is met:
    - Its commit is reachable, and the run used no uncommitted changes.
    - The run is less than `days` days old.
    - The run is one of the last `keep` runs with the same branch, pipeline and type.

    In a shallow clone, a run without uncommitted changes is kept for safety if its commit may be
    reachable.
    """
    ordered = sorted(rows, key=lambda row: (row.started, row.uid))
    counts: dict[tuple[str, str, str], int] = {}
    removed: list[RunSummary] = []
    unknown = 0
    for row in reversed(ordered):
        series = (row.branch, row.pipeline, row.kind)
        counts[series] = counts.get(series, 0) + 1
        if counts[series] <= keep or _age(row, now) < timedelta(days=days):
            continue
        if not row.dirty and row.commit in reach.reached:
            continue
        if not row.dirty and row.commit in reach.unknown:
            unknown += 1
            continue
        removed.append(row)
    return removed[::-1], unknown


def collect(
    store: RunStore,
    git: Repository,
    *,
    now: datetime,
    days: int = DAYS,
    keep: int = KEEP,
    dry_run: bool = False,
) -> GcResult:
    """Remove the runs that `choose_removals` returns, their records, and orphaned records files.

    Also remove the state of unfinished runs whose last attempt is at least `days` days old.

    In a dry run, no file is removed. Raises WorldError if a file cannot be removed. Files that were
    removed before the error are not restored.
    """
    rows = store.all()
    reach = find_reachable(git, (row.commit for row in rows if not row.dirty))
    removable, unknown = choose_removals(rows, reach, now=now, days=days, keep=keep)
    orphans = _orphans(store, now)
    removed: list[RemovedRun] = []
    for row in removable:
        # Remove the run file first. If Loom is then killed, a later collection removes the orphaned
        # records file. In the opposite order, the run file could refer to a missing records file.
        paths = [store.folder / row.path, store.records_path(row.uid)]
        freed = sum(_remove(path, dry_run=dry_run) for path in paths)
        removed.append(RemovedRun(row.uid, row.run_id, row.pipeline, row.started, freed))
    orphaned_bytes = sum(_remove(path, dry_run=dry_run) for path in orphans)
    unfinished = _remove_unfinished(store, now - timedelta(days=days), dry_run=dry_run)
    if not dry_run:
        for folder in store.unfinished.remnants(now - ORPHAN_AGE):
            shutil.rmtree(folder, ignore_errors=True)
        _tidy(store, {(store.folder / row.path).parent for row in removable})
    return GcResult(
        tuple(removed),
        tuple(path.relative_to(store.folder).as_posix() for path in orphans),
        sum(run.bytes for run in (*removed, *unfinished)) + orphaned_bytes,
        len(rows) - len(removable),
        unknown,
        tuple(unfinished),
    )


def _remove_unfinished(store: RunStore, before: datetime, *, dry_run: bool) -> list[RemovedRun]:
    """Remove the state of the unfinished runs whose last attempt started before `before`.

    A run that a process works on is kept. In a dry run, no file is removed.
    """
    removed: list[RemovedRun] = []
    for run in store.unfinished.older(before):
        files = [path for path in store.unfinished.folder(run).rglob("*") if path.is_file()]
        size = sum(_remove(path, dry_run=True) for path in files)
        last = run.last
        if dry_run or store.unfinished.remove_idle(run):
            removed.append(RemovedRun(last.uid, last.run_id, run.pipeline, last.started, size))
    return removed


def _age(row: RunSummary, now: datetime) -> timedelta:
    try:
        started = datetime.fromisoformat(row.started)
    except ValueError:
        return timedelta(0)  # the age is unknown: keep the run
    return now - (started if started.tzinfo else started.replace(tzinfo=UTC))


def _orphans(store: RunStore, now: datetime) -> list[Path]:
    """Return the records files that are older than ORPHAN_AGE and have no run file.

    A records file with a damaged run file is not returned.
    """
    runs = {path.name.split(".json", 1)[0] for path in (store.folder / "runs").glob("*/*.json*")}
    orphans: list[Path] = []
    for path in sorted(store.records_folder.glob("*.jsonl")):
        with contextlib.suppress(OSError):
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if path.stem not in runs and now - written > ORPHAN_AGE:
                orphans.append(path)
    return orphans


def _remove(path: Path, *, dry_run: bool) -> int:
    """Remove a file, except in a dry run. Return its size in bytes, or 0 if it does not exist."""
    try:
        size = path.stat().st_size
        if not dry_run:
            path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise WorldError(f"{path} cannot be removed: {error.strerror or error}") from error
    return size


def _tidy(store: RunStore, emptied: Iterable[Path]) -> None:
    """Remove temporary files of killed writers, and the folders in `emptied` that are empty."""
    for folder in (store.folder, store.records_folder):
        remove_stale_files(folder)
    for folder in emptied:
        with contextlib.suppress(OSError):
            folder.rmdir()
