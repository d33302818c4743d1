"""Readers that convert the scalars of a file to typed values, each with a JSON Schema for editors.

The types follow the core schema of YAML 1.2, so `yes` and `1_000` are text.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Struct
from pydantic import JsonValue as PydanticJson  # like `Json`, but pydantic supports it
from pydantic_core import core_schema

from loomgit.config.document import UnquotedScalar, describe, is_null, quote
from loomgit.domain.suggestions import did_you_mean
from loomgit.domain.values import Json

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
# The pattern for names in JSON Schemas. It uses only syntax that all validators support. Therefore,
# it accepts more names than NAME.
NAME_PATTERN = r"^[^\s/\\.-][^\s/\\]*$"
# Integers are between -INTEGER_LIMIT and INTEGER_LIMIT, so that they fit in 64 bits in JSON files.
INTEGER_LIMIT = 2**63
MAX_COUNT = 1_000_000_000  # the largest whole number that a field of a file accepts
# The maximum length of an integer as text, including leading zeros, a sign and a prefix such as 0x.
MAX_INTEGER_DIGITS = 100

TEXT_SCHEMA: JsonObject = {"type": ["string", "number", "boolean"]}


class InvalidValue(ValueError):
    """The value of a field is invalid. The message describes the value and the error.

    `within` is the path from the value to its invalid part. It is empty if the whole value is
    invalid.
    """

    def __init__(
        self, message: str, hint: str | None = None, *, within: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.within = within


class Reader(Struct, frozen=True, eq=False):
    """An annotation for a field of a pydantic model. `schema` is the field's JSON Schema.

    Pydantic calls `function` to convert the field's value. `function` raises InvalidValue if the
    value is invalid.
    """

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


def expected(what: str, value: object, hint: str | None = None) -> InvalidValue:
    """Return an error with the message `expected WHAT, found VALUE`."""
    return InvalidValue(f"expected {what}, found {describe(value)}", hint)


def read_text(value: object, what: str = "text") -> str:
    """Return a scalar as the user spelled it. Raises InvalidValue for null, a list or a map.

    `what` describes the expected value in the message.
    """
    if not isinstance(value, str) or is_null(value):
        raise expected(what, value)
    return str(value)


def read_nonblank_text(value: object, what: str = "text") -> str:
    """Return a scalar as text, without surrounding white space.

    Raises InvalidValue for null, blank text, a list or a map.
    """
    text = read_text(value, what)
    if not text.strip():
        raise expected(what, value)
    return text.strip()


def read_field(value: object, what: str = "text") -> str:
    """Return the name of a field. White space around the name is kept if the name is in quotes.

    Raises InvalidValue for null, blank text, a list or a map.
    """
    text = read_text(value, what)
    if not text.strip():
        raise expected(what, value)
    return text.strip() if isinstance(value, UnquotedScalar) else text


def read_name(value: object) -> str:
    """Return a name, which must be valid in file names, command-line selections and assertions.

    Raises InvalidValue for other names.
    """
    text = read_nonblank_text(value, "a name")
    if not NAME.fullmatch(text):
        hint = "use letters, digits, '_', '-' and '.', and do not start with '-' or '.'"
        raise InvalidValue(f"{quote(text)} is not a valid name", hint)
    return text


def read_flag(value: object) -> bool:
    """Read `true` or `false`. Raises InvalidValue for `yes`, `on`, `1` and other values."""
    if isinstance(value, UnquotedScalar):
        if value in TRUE:
            return True
        if value in FALSE:
            return False
    hint = None
    if isinstance(value, str):
        hint = FLAG_HINTS.get(value.lower())
    raise expected("true or false", value, hint)


def parse_number(text: str) -> int | float | None:
    """Return the number that `text` represents in YAML 1.2.

    Returns None for text that is not a number, for infinity and NaN, and for numbers that are too
    large (for integers, see INTEGER_LIMIT and MAX_INTEGER_DIGITS).
    """
    if INTEGER.fullmatch(text):
        if len(text) > MAX_INTEGER_DIGITS:
            return None
        integer = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        return integer if abs(integer) < INTEGER_LIMIT else None
    if FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def _number_hint(value: object, *, share: bool) -> str | None:
    if not isinstance(value, str):
        return None
    if not isinstance(value, UnquotedScalar) and parse_number(value) is not None:
        return "remove the quotes"
    number = parse_number(value.removesuffix("%"))
    is_percentage = value.endswith("%") or (number is not None and number >= 2)
    if share and is_percentage and number is not None and 0 <= number <= 100:
        return f"did you mean {number / 100:g}?"
    return None


class NumberReader(Reader, frozen=True, eq=False):
    """Reads an unquoted number, and checks that it is within limits."""

    @classmethod
    def of(
        cls,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        whole: bool = False,
    ) -> NumberReader:
        """Return a reader that accepts numbers >= `low`, <= `high` and > `above`.

        A limit of None does not apply. If `whole` is True, the number must be an integer.
        """
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
            number = parse_number(value) if isinstance(value, UnquotedScalar) else None
            fits = (
                number is not None
                and (low is None or number >= low)
                and (high is None or number <= high)
                and (above is None or number > above)
                and not (whole and isinstance(number, float))
            )
            if whole and fits and number is not None and abs(number) > MAX_COUNT:
                raise expected(f"a number of at most {MAX_COUNT:,}", value)
            if number is None or not fits:
                raise expected(what, value, _number_hint(value, share=high == 1))
            return number if whole else float(number)

        return cls(read, schema)


def choice(noun: str, options: Sequence[str]) -> Reader:
    """Return a reader that accepts only `options`. For other text, the error is `unknown NOUN`."""
    article = "an" if noun[0] in "aeiou" else "a"

    def read(value: object) -> str:
        if not isinstance(value, str) or is_null(value):
            raise expected(f"{article} {noun}", value, f"one of: {', '.join(options)}")
        if value not in options:
            hint = did_you_mean(value, options) or f"one of: {', '.join(options)}"
            raise InvalidValue(f"unknown {noun} {quote(value)}", hint)
        return str(value)

    return Reader(read, {"enum": list(options)})


def read_json(value: object) -> Json:
    """Convert any value of a file to JSON. An unquoted scalar gets its type from YAML 1.2.

    Raises InvalidValue for infinity, NaN and numbers that are too large for Loom's JSON files.
    """
    if isinstance(value, dict):
        return {str(key): read_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [read_json(inner) for inner in value]
    if not isinstance(value, UnquotedScalar):
        return str(value)
    if is_null(value):
        return None
    if value in TRUE or value in FALSE:
        return value in TRUE
    number = parse_number(value)
    if number is not None:
        return number
    if INTEGER.fullmatch(value) or FLOAT.fullmatch(value) or NOT_FINITE.fullmatch(value):
        raise InvalidValue(f"cannot store the number {describe(value)} as JSON",
                    "put it in quotes to make it text")  # fmt: skip
    return str(value)


def read_variable(value: object) -> Json:
    """Return the default value of a variable. Raises InvalidValue for a list or a map."""
    parsed = read_json(value)
    if isinstance(parsed, list | dict):
        raise expected("text, a number, true, false or null", value)
    return parsed


def read_map(value: object) -> JsonObject:
    """Convert a map with any keys and values to JSON, like `read_json`.

    Raises InvalidValue if the value is not a map, or contains a number that `read_json` refuses.
    """
    if not isinstance(value, dict):
        raise expected("a map", value)
    return {str(key): read_json(inner) for key, inner in value.items()}


def read_raw_map(value: object) -> object:
    """Return a map unchanged. Its scalars remain text; another pydantic model converts them later.

    Raises InvalidValue if the value is not a map.
    """
    if not isinstance(value, dict):
        raise expected("a map", value)
    return value


def read_duration(value: object) -> float:
    """Read a duration (`7d`, `12h`, `30s`, `5m`, `200ms`) and return it in seconds.

    Raises InvalidValue if the value is not a duration, or if the duration is 0.
    """
    duration = DURATION.fullmatch(value) if isinstance(value, str) else None
    if duration is None or float(duration[1]) == 0:
        raise expected("a duration such as 7d, 12h, 5m or 30s", value)
    return float(duration[1]) * SECONDS[duration[2]]


def read_seconds(value: object) -> float:
    """Read a number of seconds or a duration such as `30s`, and return it in seconds.

    Raises InvalidValue if the value is neither a number nor a duration, or if it is not above 0.
    """
    if isinstance(value, str) and DURATION.fullmatch(value):
        return read_duration(value)
    number = parse_number(value) if isinstance(value, UnquotedScalar) else None
    if number is None or number <= 0:
        raise expected("a number of seconds above 0 or a duration such as 30s", value)
    return float(number)


def read_relative_rise(value: object) -> float:
    """Read a relative rise and return it as a fraction. `10%` and `0.1` both give 0.1.

    The fraction can be greater than 1. Raises InvalidValue for other values.
    """
    text = value.removesuffix("%") if isinstance(value, str) else ""
    number = parse_number(text) if isinstance(value, UnquotedScalar) else None
    if number is None or number < 0:
        raise expected("a share such as 10% or 0.1", value)
    return number / 100 if text != value else float(number)


def read_pattern(value: object) -> str:
    """Read a regular expression. Raises InvalidValue if `re` cannot compile it."""
    text = read_text(value, "a regular expression")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user cannot act on a warning of `re`
            re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidValue(f"{quote(text)} is not a valid regular expression: {error}") from error
    return text


Text: TypeAlias = Annotated[str, Reader(read_text, TEXT_SCHEMA)]
NonBlankText: TypeAlias = Annotated[str, Reader(read_nonblank_text, TEXT_SCHEMA)]
FieldName: TypeAlias = Annotated[str, Reader(read_field, TEXT_SCHEMA)]
FilePath: TypeAlias = Annotated[
    str,
    Reader(lambda value: read_nonblank_text(value, "a path"), {"type": "string", "minLength": 1}),
]
Name: TypeAlias = Annotated[
    str, Reader(read_name, {"type": ["string", "number"], "pattern": NAME_PATTERN})
]
Flag: TypeAlias = Annotated[bool, Reader(read_flag, {"type": "boolean"})]
Share: TypeAlias = Annotated[float, NumberReader.of(low=0, high=1)]
AnyNumber: TypeAlias = Annotated[float, NumberReader.of()]
NotNegative: TypeAlias = Annotated[float, NumberReader.of(low=0)]
Positive: TypeAlias = Annotated[float, NumberReader.of(above=0)]
Integer: TypeAlias = Annotated[int, NumberReader.of(whole=True)]
Count: TypeAlias = Annotated[int, NumberReader.of(low=1, whole=True)]
CountFromZero: TypeAlias = Annotated[int, NumberReader.of(low=0, whole=True)]
JsonValue: TypeAlias = Annotated[PydanticJson, Reader(read_json, {})]
VariableValue: TypeAlias = Annotated[
    PydanticJson, Reader(read_variable, {"type": ["string", "number", "boolean", "null"]})
]
JsonMap: TypeAlias = Annotated[dict[str, PydanticJson], Reader(read_map, {"type": "object"})]
RawMap: TypeAlias = Annotated[object, Reader(read_raw_map, {"type": "object"})]
Pattern: TypeAlias = Annotated[str, Reader(read_pattern, {"type": "string", "format": "regex"})]
Duration: TypeAlias = Annotated[
    float, Reader(read_duration, {"type": "string", "pattern": f"^{DURATION.pattern}$"})
]
SecondsOrDuration: TypeAlias = Annotated[
    float,
    Reader(
        read_seconds,
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^{DURATION.pattern}$"},
            ]
        },
    ),
]
RelativeRise: TypeAlias = Annotated[
    float,
    Reader(
        read_relative_rise,
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$"},
            ]
        },
    ),
]
