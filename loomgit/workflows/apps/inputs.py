"""Reads the inputs of `loom app run` and the examples of `loom app validate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from loomgit.apps.examples import make_example
from loomgit.domain.exact_json import NotExactError, parse_exact
from loomgit.domain.records import RefusedRow
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import UserError, WorldError
from loomgit.rows.address import FORMATS
from loomgit.rows.file_query import SourceFile

if TYPE_CHECKING:
    from loomgit.apps.examples import AppExample
    from loomgit.domain.apps import AppSettings
    from loomgit.domain.values import Json

LINES = (".jsonl", ".ndjson")
STDIN = "-"


def parse_input(text: str) -> Json:
    """Parse an input on the command line. Raises UserError if it is not exact JSON."""
    return _parse(text.encode("utf-8", "surrogateescape"), "--input", text)


def read_inputs(file: str) -> list[Json]:
    """Return the inputs in a file: one JSON value, or one JSON value on each line of a .jsonl file.

    `-` is stdin, with one JSON value. Raises UserError with the line, or WorldError.
    """
    if file == STDIN:
        return [_parse(sys.stdin.buffer.read(), "stdin")]
    content = _read(file)
    if not file.lower().endswith(LINES):
        return [_parse(content, file)]
    return [
        _parse(line, file, first_line=number)
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1)
        if line.strip()
    ]


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{file}: is a directory, not a file") from error
    except OSError as error:
        raise WorldError(f"{file} cannot be read: {error.strerror or error}") from error


def _parse(content: bytes, place: str, written: str = "", *, first_line: int = 1) -> Json:
    """Parse exact JSON, which starts at the line `first_line` of the file `place`."""
    try:
        return parse_exact(content.removeprefix(b"\xef\xbb\xbf"))
    except NotExactError as error:
        position = "" if place in ("--input", "stdin") else f":{first_line}"
        raise UserError(f"{place}{position}: {error}") from error
    except orjson.JSONDecodeError as error:
        hint = None
        if written and written.isprintable() and len(written) < 60 and '"' not in written:
            hint = 'quote the JSON for the shell: --input \'{"text": "..."}\''
        line = error.lineno + first_line - 1
        position = f":{line}:{error.colno}" if place not in ("--input", "stdin") else ""
        raise UserError(f"{place}{position}: not JSON: {error.msg}", hint=hint) from error


def read_examples(file: str, label: str | None, settings: AppSettings) -> list[AppExample]:
    """Return the examples in a CSV, JSON or JSON lines file.

    `label` is the name of the field with the expected output. If it is None, the field `label` is
    used if it exists. Raises UserError if the file contains no example, or if only some of the
    examples have a label.
    """
    path = Path(file)
    form = FORMATS.get(path.suffix.lower())
    if form is None or form == "parquet":
        raise UserError(f"{file}: examples are read from .csv, .json and .jsonl files")
    name = label or "label"
    examples: list[AppExample] = []
    for number, row in enumerate(SourceFile(path, file, form).rows(), 1):
        if isinstance(row, RefusedRow):
            raise UserError(str(row))
        if label is not None and label not in row:
            raise UserError(
                f"{file}: example {number} has no field '{label}'", hint=did_you_mean(label, row)
            )
        place = f"{file}: example {number}"
        example = make_example(row, name, settings, texts=form == "csv", place=place)
        if examples and example.labelled != examples[0].labelled:
            raise UserError(f"{file}: only some examples have a field '{name}'")
        examples.append(example)
    if not examples:
        raise UserError(f"{file}: contains no examples")
    return examples
