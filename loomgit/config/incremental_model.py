"""The pydantic model of `extract.incremental` in a pipeline file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from loomgit.config.document import UnquotedScalar
from loomgit.config.file_model import FileModel
from loomgit.config.scalars import (
    DURATION,
    FieldName,
    Reader,
    expected,
    parse_number,
    read_duration,
    read_variable,
)
from loomgit.domain.definitions import Lag


def _read_lag(value: object) -> Lag:
    if isinstance(value, str) and DURATION.fullmatch(value):
        return Lag(read_duration(value), is_duration=True)
    number = parse_number(value) if isinstance(value, UnquotedScalar) else None
    if number is None or number <= 0:
        raise expected("a duration such as 1h, or a number above 0", value)
    return Lag(number, is_duration=False)


def _read_initial(value: object) -> int | float | str:
    initial = read_variable(value)
    if isinstance(initial, bool) or initial is None or initial == "":
        raise expected("a date, a timestamp, a number or text", value)
    assert isinstance(initial, int | float | str)  # see `read_variable`
    return initial


class IncrementalModel(FileModel):
    """Extract only the records that earlier runs have not read"""

    cursor: FieldName = Field(
        description="A field whose values rise with time, such as created_at or a serial number"
    )
    lag: Annotated[
        Lag,
        Reader(
            _read_lag,
            {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0},
                    {"type": "string", "pattern": f"^{DURATION.pattern}$"},
                ]
            },
        ),
    ] | None = Field(
        default=None,
        description="How late a record may arrive: 1h, 2d, or a number if the cursor is a number",
    )  # fmt: skip
    initial: Annotated[
        int | float | str, Reader(_read_initial, {"type": ["string", "number"]})
    ] | None = Field(
        default=None, description="The lowest cursor that the first run reads; default: all"
    )  # fmt: skip
