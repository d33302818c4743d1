"""Encodes watermarks for the places where they are stored."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.watermarks import FORMAT, DoneRecords, Watermark
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.values import Json

PROGRESS_TABLE = "_loom_state"  # the table in the user's database with the watermarks


class _StoredSource(Struct, frozen=True):
    """The field of a watermark with its source."""

    source: str = ""


class _StoredFormat(Struct, frozen=True):
    """The only field of a watermark that every version of Loom can read."""

    format: int = FORMAT


def encode_watermark(watermark: Watermark) -> bytes:
    """Return the watermark as JSON, without the records that are done."""
    return msgspec.json.encode(replace(watermark, done=b""))


def decode_watermark(content: bytes, shown: str, done: bytes | None = None) -> Watermark:
    """Return the watermark in `content`, with the packed records `done`, or with its own records.

    `shown` is the place of the watermark in messages. Raises UserError if it is damaged or was
    written by a newer version.
    """
    try:
        if msgspec.json.decode(content, type=_StoredFormat).format > FORMAT:
            raise UserError(
                f"{shown}: the watermark was written by a newer version of Loom",
                hint="upgrade Loom",
            )
        watermark = msgspec.json.decode(content, type=Watermark)
        watermark = watermark if done is None else replace(watermark, done=done)
        _ = watermark.point
        DoneRecords.unpack(watermark.done)
    except ValueError as fault:  # includes the errors of msgspec
        raise damaged(shown, fault) from fault
    return watermark


def require_readable(parts: Iterable[bytes], shown: str) -> None:
    """Raise UserError if the packed records of a part are damaged."""
    for part in parts:
        try:
            DoneRecords.unpack(part)
        except ValueError as fault:
            raise damaged(shown, fault) from fault


def damaged(shown: str, fault: Exception) -> UserError:
    """Return the error for a damaged watermark."""
    return UserError(
        f"{shown}: the watermark is damaged: {fault}",
        hint="use --full-refresh to read all records again",
    )


def other_sources(rows: Iterable[Sequence[Json]], own: tuple[str, str]) -> dict[str, str]:
    """Return the sources of watermarks, by the name of their pipeline and target.

    `rows` contain the pipeline, the target and the JSON text of each watermark. The watermark of
    the pipeline and the target `own` is left out, and so are watermarks that cannot be read.
    """
    sources = {}
    for pipeline, target, text in rows:
        if (pipeline, target) == own:
            continue
        with suppress(msgspec.DecodeError):
            name = f"{pipeline} (target {target})" if target else str(pipeline)
            sources[name] = msgspec.json.decode(str(text), type=_StoredSource).source
    return sources
