"""The quarantine: the rejected records of the pipelines, with the reason for each rejection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from msgspec import Struct, field

from loomgit.domain.values import JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType


Listed = TypeVar("Listed", "QuarantineEntry", "EntryHead")


class QuarantineEntry(Struct, frozen=True):
    """One rejected record: its input fields, the stage that failed, the reason and the scores.

    `scores` and `reasons` have the evaluator names as keys. The score of a failed evaluator is
    None, and its reason is the error. `error` is the text of all errors, None if the record failed
    only because its scores are too low. `output` contains the output fields from the model, None if
    the record has no output. `at` is the time in UTC, as ISO 8601 text.

    An entry is open until it is resolved. `resolved_at` is the time of the resolution,
    `resolved_by` is the run or the person that resolved the entry, and `why` is the reason. All
    three are None while the entry is open.

    `target` is the target of the run, None if the project had no targets.
    """

    run_id: str
    pipeline: str
    record_key: str
    stage: str
    reason: str
    at: str
    record: JsonObject
    scores: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None
    reasons: Mapping[str, str | None] = field(default_factory=dict)
    output: JsonObject | None = None
    resolved_at: str | None = None
    resolved_by: str | None = None
    why: str | None = None
    target: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the entry is not resolved."""
        return self.resolved_at is None

    def belongs_to(self, target: str | None) -> bool:
        """Whether a run with this target can resolve the entry."""
        return is_same_target(self.target, target)


def is_same_target(first: str | None, second: str | None) -> bool:
    """Whether two targets are equal. None, for a project without targets, equals every target."""
    return first is None or second is None or first == second


class Resolution(Struct, frozen=True):
    """The end of all open entries of one record with the same target (`is_same_target`).

    The fields are those of `QuarantineEntry`.
    """

    pipeline: str
    record_key: str
    resolved_at: str
    resolved_by: str
    why: str
    target: str | None = None


class EntryHead(Struct, frozen=True):
    """The fields of an entry that a list shows.

    `place` identifies the entry in its store. The other fields are those of `QuarantineEntry`.
    """

    place: int | str
    pipeline: str
    record_key: str
    stage: str
    at: str
    target: str | None = None


class QuarantineStore(Protocol):
    """The place where the entries of one or more pipelines are stored.

    `damaged` is the number of stored entries that the last `entries` could not read.
    """

    damaged: int

    def check(self) -> None:
        """Raise UserError or WorldError if the store is not writable. Writes nothing."""
        ...

    def add(self, entries: Sequence[QuarantineEntry]) -> None:
        """Store entries. Secrets in their reasons and errors are hidden. Raises WorldError."""
        ...

    def resolve(self, resolutions: Sequence[Resolution]) -> None:
        """Resolve the open entries of records. Raises UserError or WorldError."""
        ...

    def open_keys(self, pipeline: str, target: str | None = None) -> set[str]:
        """Return the keys of the records of a pipeline that have an open entry of the target."""
        ...

    def entries(self, pipeline: str, *, only_open: bool = False) -> Iterator[QuarantineEntry]:
        """Yield the entries of a pipeline, newest first. Entries that are damaged are skipped.

        Memory use does not grow with the size of the records. Raises UserError or WorldError.
        """
        ...

    def heads(self, pipeline: str, *, only_open: bool = False) -> Iterator[EntryHead]:
        """Yield the heads of the entries of a pipeline, newest first.

        This is faster than `entries`, because the records are not read. The head of an entry in a
        table is also yielded if the entry is damaged. Raises UserError or WorldError.
        """
        ...

    def read(self, heads: Sequence[EntryHead]) -> list[QuarantineEntry]:
        """Return the entries with these heads, which the last `heads` has yielded.

        Entries that are damaged are skipped, and are added to `damaged`.
        """
        ...

    def close(self) -> None:
        """Close the file or the connection. A later call opens it again."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def newest_of_each_record(
    entries: Iterable[Listed], *, by_target: bool = False
) -> Iterator[Listed]:
    """Yield the first entry of each record. If `entries` are newest first, this is the newest.

    If `by_target` is true, a record has one entry for each target.
    """
    seen: set[tuple[str, str, str | None]] = set()
    for entry in entries:
        record = entry.pipeline, entry.record_key, entry.target if by_target else None
        if record not in seen:
            seen.add(record)
            yield entry
