"""Text -> typed values, each with the JSON Schema that an editor checks it by.

Scalars follow YAML 1.2's core schema where a type is asked for: `yes` is text and `1_000` is text.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Struct
from pydantic import JsonValue as PydanticJson  # as ours, in a form that pydantic can look into
from pydantic_core import core_schema

from loomgit.config.document import Plain, describe, is_null, quote
from loomgit.domain.values import Json
from loomgit.domain.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

    from loomgit.domain.values import JsonObject

INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
FLAG_HINTS = {
    **dict.fromkeys(("true", "false"), "remove the quotes"),
    **dict.fromkeys(("yes", "on", "y", "1"), "write true"),
    **dict.fromkeys(("no", "off", "n", "0"), "write false"),
}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
NAME = re.compile(r"[^\W.-][\w.-]*")
NAME_PATTERN = r"^[^\s/\\.-][^\s/\\]*$"  # the part of the rule that every validator understands
LARGEST = 2**63  # JSON as we write it has 64 bits
MOST = 1_000_000_000  # of whatever is counted
LONGEST_INTEGER = 100  # digits that are worth a look, leading zeros included

TEXT_SCHEMA: JsonObject = {"type": ["string", "number", "boolean"]}


class Wrong(ValueError):
    """A value that does not fit; the text says what was expected and what was found.

    `within` leads from the value to the part of it that is at fault.
    """

    def __init__(
        self, message: str, hint: str | None = None, *, within: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.within = within


class Read(Struct, frozen=True, eq=False):
    """How pydantic reads a field, by a function that raises Wrong, and its JSON Schema."""

    function: Callable[[object], object]
    schema: Mapping[str, Json]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.function)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Json]:
        return dict(self.schema)


def expected(what: str, value: object, hint: str | None = None) -> Wrong:
    """The fault of a value that is not what it should be."""
    return Wrong(f"expected {what}, found {describe(value)}", hint)


def read_text(value: object, what: str = "text") -> str:
    """Any scalar as the text it was written as."""
    if not isinstance(value, str) or is_null(value):
        raise expected(what, value)
    return str(value)


def read_word(value: object, what: str = "text") -> str:
    """Text that says something: not empty, no white space around it."""
    text = read_text(value, what)
    if not text.strip():
        raise expected(what, value)
    return text.strip()


def read_field(value: object, what: str = "text") -> str:
    """The name of a field: in quotes, white space around it belongs to it."""
    text = read_text(value, what)
    if not text.strip():
        raise expected(what, value)
    return text.strip() if isinstance(value, Plain) else text


def read_name(value: object) -> str:
    """A name that can stand in a file's name, a selection and an assertion."""
    text = read_word(value, "a name")
    if not NAME.fullmatch(text):
        allowed = (
            "a name has letters, digits, '_', '-' and '.', beginning with none of the last two"
        )
        raise Wrong(f"{quote(text)} is not a name", allowed)
    return text


def read_flag(value: object) -> bool:
    """`true` or `false`; not `yes`, `on` or `1`."""
    if isinstance(value, Plain):
        if value in TRUE:
            return True
        if value in FALSE:
            return False
    hint = None
    if isinstance(value, str):
        hint = FLAG_HINTS.get(value.lower())
    raise expected("true or false", value, hint)


def parse_number(text: str) -> int | float | None:
    """The number that `text` is in YAML 1.2, None where it is none or not finite."""
    if INTEGER.fullmatch(text):
        if len(text) > LONGEST_INTEGER:
            return None
        whole = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        return whole if abs(whole) < LARGEST else None
    if FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def _number_hint(value: object, *, share: bool) -> str | None:
    if not isinstance(value, str):
        return None
    if not isinstance(value, Plain) and parse_number(value) is not None:
        return "remove the quotes"
    number = parse_number(value.removesuffix("%"))
    percent = value.endswith("%") or (number is not None and number >= 2)
    if share and percent and number is not None and 0 <= number <= 100:
        return f"did you mean {number / 100:g}?"
    return None


class Number(Read, frozen=True, eq=False):
    """A number between limits; `above` is a limit that is not itself allowed."""

    @classmethod
    def of(
        cls,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        whole: bool = False,
    ) -> Number:
        """The reader and its schema for these limits."""
        limits = {"minimum": low, "maximum": high, "exclusiveMinimum": above}
        schema: JsonObject = {"type": "integer" if whole else "number"}
        schema |= {name: limit for name, limit in limits.items() if limit is not None}
        what = "a whole number" if whole else "a number"
        if low is not None and high is not None:
            what += f" from {low:g} to {high:g}"
        elif low is not None:
            what += f" of at least {low:g}"
        elif above is not None:
            what += f" above {above:g}"

        def read(value: object) -> int | float:
            number = parse_number(value) if isinstance(value, Plain) else None
            fits = (
                number is not None
                and (low is None or number >= low)
                and (high is None or number <= high)
                and (above is None or number > above)
                and not (whole and isinstance(number, float))
            )
            if whole and fits and number is not None and abs(number) > MOST:
                raise expected(f"a number of at most {MOST:,}", value)
            if number is None or not fits:
                raise expected(what, value, _number_hint(value, share=high == 1))
            return number if whole else float(number)

        return cls(read, schema)


def choice(noun: str, options: Sequence[str]) -> Read:
    """One of a few words; anything else is an unknown `noun`."""

    def read(value: object) -> str:
        if not isinstance(value, str) or is_null(value):
            raise expected(f"a {noun}", value, f"one of: {', '.join(options)}")
        if value not in options:
            hint = did_you_mean(value, options) or f"one of: {', '.join(options)}"
            raise Wrong(f"unknown {noun} {quote(value)}", hint)
        return str(value)

    return Read(read, {"enum": list(options)})


def read_json(value: object) -> Json:
    """A free-form value: scalars without quotes typed by YAML 1.2's core schema."""
    if isinstance(value, dict):
        return {str(key): read_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [read_json(inner) for inner in value]
    if not isinstance(value, Plain):
        return str(value)
    if is_null(value):
        return None
    if value in TRUE or value in FALSE:
        return value in TRUE
    number = parse_number(value)
    if number is not None:
        return number
    if INTEGER.fullmatch(value) or FLOAT.fullmatch(value) or NOT_FINITE.fullmatch(value):
        raise Wrong(f"{describe(value)} is no number that JSON can hold", "quote it for text")
    return str(value)


def read_map(value: object) -> JsonObject:
    """A free-form map."""
    if not isinstance(value, dict):
        raise expected("a map", value)
    return {str(key): read_json(inner) for key, inner in value.items()}


def read_raw_map(value: object) -> object:
    """A map that somebody else types later."""
    if not isinstance(value, dict):
        raise expected("a map", value)
    return value


def read_duration(value: object) -> float:
    """`7d`, `12h`, `30s`, `5m`, `200ms` in seconds."""
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None or float(found[1]) == 0:
        raise expected("a duration such as 7d, 12h, 5m or 30s", value)
    return float(found[1]) * SECONDS[found[2]]


def read_seconds(value: object) -> float:
    """A duration, or a number of seconds."""
    if isinstance(value, str) and DURATION.fullmatch(value):
        return read_duration(value)
    number = parse_number(value) if isinstance(value, Plain) else None
    if number is None or number <= 0:
        raise expected("seconds above 0 or a duration such as 30s", value)
    return float(number)


def read_rise(value: object) -> float:
    """A share as `10%` or `0.1`; it may exceed the whole."""
    text = value.removesuffix("%") if isinstance(value, str) else ""
    number = parse_number(text) if isinstance(value, Plain) else None
    if number is None or number < 0:
        raise expected("a share such as 10% or 0.1", value)
    return number / 100 if text != value else float(number)


def read_pattern(value: object) -> str:
    """A regular expression that compiles."""
    text = read_text(value, "a regular expression")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's own doubts the user need not hear
            re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise Wrong(f"{quote(text)} is not a regular expression: {error}") from error
    return text


Text: TypeAlias = Annotated[str, Read(read_text, TEXT_SCHEMA)]
Word: TypeAlias = Annotated[str, Read(read_word, TEXT_SCHEMA)]
FieldName: TypeAlias = Annotated[str, Read(read_field, TEXT_SCHEMA)]
FilePath: TypeAlias = Annotated[
    str, Read(lambda value: read_word(value, "a path"), {"type": "string", "minLength": 1})
]
Name: TypeAlias = Annotated[
    str, Read(read_name, {"type": ["string", "number"], "pattern": NAME_PATTERN})
]
Flag: TypeAlias = Annotated[bool, Read(read_flag, {"type": "boolean"})]
Share: TypeAlias = Annotated[float, Number.of(low=0, high=1)]
AnyNumber: TypeAlias = Annotated[float, Number.of()]
NotNegative: TypeAlias = Annotated[float, Number.of(low=0)]
Positive: TypeAlias = Annotated[float, Number.of(above=0)]
Whole: TypeAlias = Annotated[int, Number.of(whole=True)]
Count: TypeAlias = Annotated[int, Number.of(low=1, whole=True)]
CountFromZero: TypeAlias = Annotated[int, Number.of(low=0, whole=True)]
JsonValue: TypeAlias = Annotated[PydanticJson, Read(read_json, {})]
JsonMap: TypeAlias = Annotated[dict[str, PydanticJson], Read(read_map, {"type": "object"})]
RawMap: TypeAlias = Annotated[object, Read(read_raw_map, {"type": "object"})]
Pattern: TypeAlias = Annotated[str, Read(read_pattern, {"type": "string", "format": "regex"})]
Duration: TypeAlias = Annotated[
    float, Read(read_duration, {"type": "string", "pattern": f"^{DURATION.pattern}$"})
]
SecondsOrDuration: TypeAlias = Annotated[
    float,
    Read(
        read_seconds,
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^{DURATION.pattern}$"},
            ]
        },
    ),
]
Rise: TypeAlias = Annotated[
    float,
    Read(
        read_rise,
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$"},
            ]
        },
    ),
]
