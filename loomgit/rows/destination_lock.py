"""Excludes other runs of a pipeline that load into the same destination."""
# ruff: noqa: PLC0415 - psycopg takes 200 ms to import

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from loomgit.domain.process_lock import ProcessLock
from loomgit.errors import WorldError
from loomgit.rows.address import PostgresAddress, SqliteAddress, parse_destination
from loomgit.rows.stage import destination_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.settings import Connection


def lock_destination(
    pipeline: Pipeline, *, root: Path, connections: Mapping[str, Connection]
) -> AbstractContextManager[Callable[[], None]]:
    """Return a context in which no other run of the pipeline loads into its destination.

    Runs in other clones of the project are excluded, too. For a PostgreSQL table, the lock is an
    advisory lock of the server. For a file or a SQLite table, it is a file in the folder of the
    destination, which exists only during the run. `root` is the project folder.

    The context raises WorldError if another run holds the lock. The message names its process. The
    lock of a process that has died is free. The context yields a function that raises WorldError if
    the lock is lost, because the connection to the server is.
    """
    address = parse_destination(pipeline.load.destination, connections)
    if isinstance(address, PostgresAddress):
        from loomgit.rows.postgres_lock import lock_run

        return lock_run(address, pipeline.name)
    path = (root / address.path).resolve()
    table = address.table if isinstance(address, SqliteAddress) else ""
    name = destination_id(path, f"{table}\n{pipeline.name}")
    shown = f"another run of {pipeline.name} is loading into {pipeline.load.destination}"
    return _lock_beside(path.with_name(f".loom-{name}.lock"), shown)


@contextmanager
def _lock_beside(path: Path, shown: str) -> Iterator[Callable[[], None]]:
    """Hold the lock file at `path`, in a folder that is created if necessary.

    If the folder is not writable, the run continues without a lock: the check of the destination
    then reports the folder.
    """
    created = [folder for folder in path.parents if not folder.exists()]
    lock = ProcessLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_free = lock.acquire()
    except OSError:
        yield _keep_lock
        return
    if not is_free:
        raise WorldError(f"{shown} ({lock.holder()})", hint="wait for that run to end")
    try:
        with lock:
            yield _keep_lock
    finally:
        with suppress(OSError):  # the run has loaded something into the folder
            for folder in created:
                folder.rmdir()


def _keep_lock() -> None:
    """Do nothing: a process does not lose the lock of a file."""
