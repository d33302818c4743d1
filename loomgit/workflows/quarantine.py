"""Lists, finds and resolves the rejected records of pipelines."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.quarantine import (
    QuarantineEntry,
    QuarantineStore,
    Resolution,
    newest_of_each_record,
)
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import LoomError, UserError
from loomgit.wiring.quarantines import (
    default_quarantine,
    default_quarantine_names,
    open_quarantine,
    quarantine_address,
)
from loomgit.workflows.rejections import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from loomgit.wiring.project import Wiring

MOST_SUGGESTED = 2_000  # the number of keys in which a similar key is searched


class QuarantineListing(Struct, frozen=True):
    """The entries to show, newest first. `count` is the number of all selected entries."""

    entries: tuple[QuarantineEntry, ...]
    count: int


class PipelineQuarantine(Struct, frozen=True):
    """The quarantine of one pipeline, and its address as users write it."""

    pipeline: str
    store: QuarantineStore
    address: str

    def entries(self, warn: Callable[[str], None], *, only_open: bool) -> Iterator[QuarantineEntry]:
        """Yield the entries, newest first. `warn` receives the number of damaged entries."""
        yield from self.store.entries(self.pipeline, only_open=only_open)
        self.report_damage(warn)

    def report_damage(self, warn: Callable[[str], None]) -> None:
        """Pass the number of damaged entries to `warn`, if there are any."""
        if count := self.store.damaged:
            entries = "1 damaged entry" if count == 1 else f"{count:,} damaged entries"
            warn(f"{self.address}: {entries} skipped")


def quarantines(wiring: Wiring, name: str | None) -> Iterator[PipelineQuarantine]:
    """Yield the quarantine of a pipeline, or the quarantines of all pipelines if `name` is None.

    These include pipelines that no longer exist, if `.loom` has their quarantine. The quarantine
    of an invalid pipeline file is the file in `.loom`; a warning says so.
    """
    names, files = wiring.catalog.pipeline_names(), default_quarantine_names(wiring)
    if name is not None:
        name = name.removeprefix("pipelines/").removesuffix(".yaml")
        if name not in (*names, *files):
            wiring.catalog.pipeline(name)  # raises UserError with a suggestion
        names, files = [name] if name in names else [], [name]
    for each in dict.fromkeys((*names, *files)):
        default = default_quarantine(wiring, each)
        if each not in names:
            yield PipelineQuarantine(each, default, f"the quarantine of {each}")
            continue
        try:
            pipeline = wiring.catalog.pipeline(each)
        except LoomError as error:
            if name is not None:
                raise
            wiring.warn(f"{error.first_problem}: only its quarantine in .loom is read")
            yield PipelineQuarantine(each, default, f"the quarantine of {each}")
            continue
        yield PipelineQuarantine(
            each, open_quarantine(wiring, pipeline), quarantine_address(pipeline)
        )


def list_entries(
    wiring: Wiring,
    pipeline: str | None,
    *,
    every: bool = False,
    since: datetime | None = None,
    stage: str | None = None,
    limit: int | None = None,
) -> QuarantineListing:
    """Return the newest open entry of each record, newest first, at most `limit` entries.

    If `every` is true, return all entries, including resolved ones. `since` is the time of the
    oldest entry, and `stage` the stage that failed. Raises UserError or WorldError.
    """
    chosen: list[QuarantineEntry] = []
    count = 0
    for quarantine in quarantines(wiring, pipeline):
        heads = quarantine.store.heads(quarantine.pipeline, only_open=not every)
        if not every:
            heads = newest_of_each_record(heads, by_target=True)
        matching = (
            head
            for head in heads
            if (stage is None or head.stage == stage) and (since is None or _time(head.at) >= since)
        )
        newest = list(matching if limit is None else islice(matching, limit))
        count += len(newest) + sum(1 for _ in matching)
        chosen += quarantine.store.read(newest)
        quarantine.report_damage(wiring.warn)
    chosen.sort(key=lambda entry: _time(entry.at), reverse=True)
    return QuarantineListing(tuple(chosen[:limit]), count)


def _time(text: str) -> datetime:
    """Return the time of an entry; a text that is not a time is the earliest time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def find_entries(
    wiring: Wiring, keys: Sequence[str], pipeline: str | None, *, only_open: bool = False
) -> dict[str, list[QuarantineEntry]]:
    """Return all entries of each key, newest first. All entries of a key are of one pipeline.

    If `only_open` is true, only entries of the selected target are returned, the newest entry of
    each key is open, and pipelines in which the key is resolved are ignored. Raises UserError if a
    key has no entry, no open entry, or entries of several pipelines.
    """
    target = wiring.settings.target
    entries: dict[str, dict[str, list[QuarantineEntry]]] = {key: {} for key in keys}
    known: list[str] = []
    for quarantine in quarantines(wiring, pipeline):
        for entry in quarantine.entries(wiring.warn, only_open=False):
            if entry.record_key in entries:
                entries[entry.record_key].setdefault(entry.pipeline, []).append(entry)
            elif len(known) < MOST_SUGGESTED:
                known.append(entry.record_key)
    where = f"the quarantine of {pipeline}" if pipeline else "the quarantine"
    chosen: dict[str, list[QuarantineEntry]] = {}
    for key, by_pipeline in entries.items():
        if not by_pipeline:
            raise UserError(
                f"{where} has no record '{key}'",
                hint=did_you_mean(key, known) or "`loom quarantine list --all` shows all entries",
            )
        matching = by_pipeline
        if only_open:
            of_target = {
                name: [entry for entry in entries if entry.belongs_to(target)]
                for name, entries in by_pipeline.items()
            }
            matching = {name: own for name, own in of_target.items() if own and own[0].is_open}
        if not matching:
            raise _not_open_error(key, by_pipeline, target)
        if len(matching) > 1:
            raise UserError(
                f"several pipelines have a record '{key}': {', '.join(sorted(matching))}",
                hint=f"use --pipeline {min(matching)}",
            )
        (chosen[key],) = matching.values()
    return chosen


def _not_open_error(
    key: str, by_pipeline: Mapping[str, Sequence[QuarantineEntry]], target: str | None
) -> UserError:
    """Return the error for a record without an open entry of the target."""
    entries = [entry for entries in by_pipeline.values() for entry in entries]
    entry = next((entry for entry in entries if entry.belongs_to(target)), None)
    if entry is None:
        other = entries[0].target
        return UserError(
            f"the record '{key}' has no entry of the target {target}, only of {other}",
            hint=f"use --target {other}",
        )
    return UserError(
        f"the record '{entry.record_key}' has no open entry: {entry.resolved_by} resolved it at "
        f"{entry.resolved_at} ({entry.why})"
    )


def resolve_records(
    wiring: Wiring, keys: Sequence[str], pipeline: str | None, *, why: str
) -> list[Resolution]:
    """Resolve the open entries of records without loading the records.

    If one of the keys is invalid, no entry is resolved. Raises UserError or WorldError.
    """
    if not why.strip():
        raise UserError("the reason is empty", hint="use --why TEXT")
    found = find_entries(wiring, keys, pipeline, only_open=True)
    person, now = _user_name(wiring), utc_now()
    resolutions = [
        Resolution(entries[0].pipeline, key, now, person, why.strip(), wiring.settings.target)
        for key, entries in found.items()
    ]
    for name in dict.fromkeys(resolution.pipeline for resolution in resolutions):
        for quarantine in quarantines(wiring, name):
            with quarantine.store as store:
                store.resolve([each for each in resolutions if each.pipeline == name])
    return resolutions


def _user_name(wiring: Wiring) -> str:
    """Return the name of the user in the configuration of Git, else of the operating system."""
    name = wiring.repository.plumbing("config", "user.name", good=(0, 1)).decode("utf-8", "replace")
    return name.strip() or getpass.getuser()
