"""Unfinished runs: what Loom stores about a run until the run is complete."""

from __future__ import annotations

from msgspec import Struct

# `loomgit.history` decodes JSON into these classes, so the type `Commit` is needed at run time.
from loomgit.domain.versions import Commit

FORMAT = 2  # the version of the files of an unfinished run


class Attempt(Struct, frozen=True):
    """One attempt to complete a run. `started` is a time in UTC, as ISO 8601 text."""

    run_id: str
    uid: str
    started: str


class UnfinishedRun(Struct, frozen=True):
    """A run that was started and is not complete. The first attempt gives the run its `uid`.

    `variables` are the values of `--vars`, and `limit` is the value of `--limit`. `inputs` maps the
    name of each input that a later attempt must not change to a hash of the input. `attempts` are
    in order of time. `reads_source` is false if the run processes records from the quarantine
    instead of the records of the pipeline's source. Such a run cannot be resumed. `target` is the
    name of the target, or None if the settings have no targets. `full_refresh` is true if the run
    ignores the watermark (`--full-refresh`). `format` is the version of the run's files.
    """

    uid: str
    pipeline: str
    execution_date: str
    variables: dict[str, object]
    limit: int | None
    inputs: dict[str, str]
    fingerprint: str
    commit: Commit
    attempts: tuple[Attempt, ...]
    reads_source: bool = True
    target: str | None = None
    full_refresh: bool = False
    format: int = FORMAT

    @property
    def last(self) -> Attempt:
        """The latest attempt."""
        return self.attempts[-1]

    def has(self, name: str) -> bool:
        """Whether `name` is the run_id or the uid of one of the attempts."""
        return any(name in (attempt.run_id, attempt.uid) for attempt in self.attempts)

    def changed_inputs(self, inputs: dict[str, str]) -> list[str]:
        """Return the names of the inputs that differ from `inputs`, sorted."""
        names = self.inputs.keys() | inputs.keys()
        return sorted(name for name in names if self.inputs.get(name) != inputs.get(name))
