"""Which stored runs nobody will ask for again, and their removal."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.errors import WorldError
from loomgit.history.files import sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.runs import RunSummary
    from loomgit.history.store import RunStore

DAYS = 90
KEEP = 20
ORPHAN_AGE = timedelta(days=1)  # a records file younger than this may belong to a run at work
_ID = re.compile(r"[0-9a-f]{40,64}")


class Git(Protocol):
    """What is needed of a repository."""

    @property
    def is_shallow(self) -> bool:
        """Whether history is cut off."""
        ...

    def objects(self, names: Sequence[str]) -> list[tuple[str, str] | None]:
        """(id, type) of each object, None where there is none."""
        ...

    def plumbing(
        self, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] = ...
    ) -> bytes:
        """What a Git command prints."""
        ...


class Reach(Struct, frozen=True):
    """Of some commits: those that a ref reaches, and those of which nobody can know because
    history is cut off here."""

    reached: frozenset[str]
    unknown: frozenset[str] = frozenset()


class Removed(Struct, frozen=True):
    """One run that went: with its records file, `bytes` in all."""

    uid: str
    run_id: str
    pipeline: str
    started: str
    bytes: int


class Collected(Struct, frozen=True):
    """What a collection removed, or would: `orphans` are records files that no run speaks of,
    `unknown` runs are kept only because history is cut off here; `bytes` is all that was freed."""

    runs: tuple[Removed, ...]
    orphans: tuple[str, ...]
    bytes: int
    kept: int
    unknown: int


def find_reach(git: Git, commits: Iterable[str]) -> Reach:
    """Which of the commits branches, tags, remotes, HEADs of worktrees or a stash reach."""
    asked = sorted({commit for commit in commits if _ID.fullmatch(commit)})
    found = zip(asked, git.objects(asked), strict=True)
    present = [name for name, item in found if item is not None and item[1] == "commit"]
    reached = frozenset(present)
    if present:
        # --all has the HEADs of all worktrees, too.
        lines = "".join(f"{commit}\n" for commit in present).encode()
        said = git.plumbing("rev-list", "--stdin", "--not", "--all", stdin=lines)
        reached -= frozenset(said.decode().split())
    # In a shallow clone a commit that is missing, or seems to hang loose, may be in what is cut.
    return Reach(reached, frozenset(asked) - reached if git.is_shallow else frozenset())


def choose_removals(
    rows: Sequence[RunSummary], reach: Reach, *, now: datetime, days: int, keep: int
) -> tuple[list[RunSummary], int]:
    """The runs that may go, oldest first, and how many more would but for a cut-off history.

    Kept are runs of clean commits that are reached, runs younger than `days`, and the last `keep`
    of each branch, pipeline and kind.
    """
    ordered = sorted(rows, key=lambda row: (row.started, row.uid))
    last: dict[tuple[str, str, str], int] = {}
    removed: list[RunSummary] = []
    unknown = 0
    for row in reversed(ordered):
        line = (row.branch, row.pipeline, row.kind)
        last[line] = last.get(line, 0) + 1
        if last[line] <= keep or _age(row, now) < timedelta(days=days):
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
    git: Git,
    *,
    now: datetime,
    days: int = DAYS,
    keep: int = KEEP,
    dry_run: bool = False,
) -> Collected:
    """Remove the runs that may go with their records, and records that no run speaks of.

    Raises WorldError where a file cannot be removed; those before it are gone then.
    """
    rows = store.all()
    reach = find_reach(git, (row.commit for row in rows if not row.dirty))
    going, unknown = choose_removals(rows, reach, now=now, days=days, keep=keep)
    orphans = _orphans(store, now)
    removed: list[Removed] = []
    for row in going:
        # The run file first: records without a run are swept a day later, a run file without its
        # records would speak of what is not there.
        paths = [store.folder / row.path, store.folder / "records" / f"{row.uid}.jsonl"]
        freed = sum(_remove(path, dry_run=dry_run) for path in paths)
        removed.append(Removed(row.uid, row.run_id, row.pipeline, row.started, freed))
    loose = sum(_remove(path, dry_run=dry_run) for path in orphans)
    if not dry_run:
        _tidy(store.folder, {(store.folder / row.path).parent for row in going})
    return Collected(
        tuple(removed),
        tuple(path.relative_to(store.folder).as_posix() for path in orphans),
        sum(run.bytes for run in removed) + loose,
        len(rows) - len(going),
        unknown,
    )


def _age(row: RunSummary, now: datetime) -> timedelta:
    try:
        started = datetime.fromisoformat(row.started)
    except ValueError:
        return timedelta(0)  # nobody knows: kept
    return now - (started if started.tzinfo else started.replace(tzinfo=UTC))


def _orphans(store: RunStore, now: datetime) -> list[Path]:
    """Records files older than a day whose run file is not there, under whatever name."""
    runs = {path.name.split(".json", 1)[0] for path in (store.folder / "runs").glob("*/*.json*")}
    found: list[Path] = []
    for path in sorted((store.folder / "records").glob("*.jsonl")):
        with contextlib.suppress(OSError):
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if path.stem not in runs and now - written > ORPHAN_AGE:
                found.append(path)
    return found


def _remove(path: Path, *, dry_run: bool) -> int:
    """The file's bytes; it is gone afterwards, unless this is a rehearsal."""
    try:
        size = path.stat().st_size
        if not dry_run:
            path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise WorldError(f"{path} cannot be removed: {error.strerror or error}") from error
    return size


def _tidy(folder: Path, emptied: Iterable[Path]) -> None:
    for one in (folder, folder / "records"):
        sweep(one)
    for one in emptied:
        with contextlib.suppress(OSError):
            one.rmdir()
