"""Adds a unit test to the text of a test file. All other lines of the file stay as they are."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.suites import parse_suite
from loomgit.config.yaml_text import INVALID_CHARACTER, parse_yaml
from loomgit.domain.keys import canonical
from loomgit.domain.values import JsonMapping
from loomgit.errors import ProblemsFound, UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from loomgit.config.document import Document
    from loomgit.domain.values import Json

GROUP = "unit_tests"
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_EMPTY_GROUP = re.compile(r"unit_tests\s*:\s*(\[\s*\]|null|~)?\s*(#.*)?")
_DASH = re.compile(r"( *)-(\s|$)")
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")  # YAML treats these characters as line ends


class NewUnitTest(Struct, frozen=True):
    """A unit test to add: its name, the lines of the comment below the name, and the input.

    `rejected` is the output that was rejected. It is added as a comment.
    """

    name: str
    comment: tuple[str, ...]
    input: JsonMapping
    rejected: JsonMapping | None = None


def render_new_suite(pipeline: str, test: NewUnitTest) -> str:
    """Return the text of a new test file with one unit test."""
    heading = (f"pipeline: {_render_key(pipeline)}", "", f"{GROUP}:")
    return "\n".join((*heading, *_lines(test, 2), ""))


def add_unit_test(
    text: str, path: str, test: NewUnitTest, known_evaluators: Collection[str] = frozenset()
) -> str:
    """Return the text of a test file with a unit test added after the last unit test.

    `path` appears in messages. Raises ProblemsFound if the file is invalid, and UserError if the
    form of the file does not allow the addition, for example because the list is in brackets.
    """
    document = parse_yaml(text, path)
    before = parse_suite(text, path, known_evaluators=known_evaluators)
    lines = text.removesuffix("\n").split("\n")
    carriage_return = "\r" if lines[0].endswith("\r") else ""
    if not text.endswith("\n"):
        lines[-1] += carriage_return
    result = "\n".join([*_insert(lines, document, test, carriage_return), ""])
    try:
        after = parse_suite(result, path, known_evaluators=known_evaluators)
        changed = parse_yaml(result, path).tree
    except ProblemsFound as error:
        raise _unsuitable(path) from error
    group = document.find((GROUP,))
    added = changed.pop(GROUP)
    assert isinstance(added, list)  # `parse_suite` has checked it
    rest = {key: value for key, value in document.tree.items() if key != GROUP}
    same = changed == rest and added[:-1] == (group or [])
    last = after.unit_tests[-1]
    if not same or len(after.unit_tests) != len(before.unit_tests) + 1 or last.name != test.name:
        raise _unsuitable(path)
    if canonical(last.input) != canonical(test.input):
        raise UserError(f"{path}: YAML cannot represent the fields of the record")
    return result


def _unsuitable(path: str) -> UserError:
    return UserError(
        f"{path}: cannot add a test to this file without changing its form",
        hint=f"write {GROUP} as a list with one `- name: ...` per test, or use --file with a new "
        "file",
    )


def _insert(lines: list[str], document: Document, test: NewUnitTest, end: str) -> list[str]:
    """Return the lines of a file with the test inserted after the last unit test.

    `end` is added to each new line.
    """
    position, replaced, added = _addition(lines, document, test)
    return [*lines[: position - replaced], *(line + end for line in added), *lines[position:]]


def _addition(
    lines: list[str], document: Document, test: NewUnitTest
) -> tuple[int, int, list[str]]:
    """Return the index at which lines are added, the number of lines before it that they replace,
    and the lines to add."""
    if not document.has((GROUP,)):
        return len(lines), 0, ["", f"{GROUP}:", *_lines(test, 2)]
    start = document.place((GROUP,)).line  # the number of the first line after the key, from 0
    if document.find((GROUP,)) in (None, []):
        empty = _EMPTY_GROUP.fullmatch(lines[start - 1].rstrip())
        if empty is None:
            raise _unsuitable(document.path)
        heading = f"{GROUP}:  {empty[2]}" if empty[2] else f"{GROUP}:"
        return start, 1, [heading, *_lines(test, 2)]
    later = [document.place((key,)).line for key in document.tree]
    end = min((line - 1 for line in later if line > start), default=len(lines))
    first = next((match for line in lines[start:end] if (match := _DASH.match(line))), None)
    if first is None:
        raise _unsuitable(document.path)
    indent = len(first[1])
    while end > start and not _belongs_to_list(lines[end - 1], indent):
        end -= 1
    item_lines = [n for n in range(start, end) if lines[n].startswith(f"{' ' * indent}-")]
    is_spaced = len(item_lines) == 1 or not lines[item_lines[-1] - 1].strip()
    return end, 0, [*([""] if is_spaced else []), *_lines(test, indent)]


def _belongs_to_list(line: str, indent: int) -> bool:
    """Return whether a line belongs to a list whose dashes are indented by `indent` spaces.

    Blank lines and comments after the last item do not belong to it, nor does the end marker.
    """
    text = line.strip()
    if not text or text == "...":
        return False
    return not text.startswith("#") or (indent > 0 and len(line) - len(line.lstrip()) >= indent)


def _lines(test: NewUnitTest, indent: int) -> Iterator[str]:
    """Yield the lines of a test in a list whose dashes are indented by `indent` spaces."""
    dash, inner = " " * indent + "- ", " " * (indent + 2)
    yield f"{dash}name: {_render(test.name)}"
    for line in test.comment:
        yield f"{inner}# {_escape(line)}"
    if test.input:
        yield f"{inner}input:"
        for name, value in test.input.items():
            yield f"{inner}  {_render_key(name)}: {_render(value)}"
    else:
        yield f"{inner}input: {{}}"
    yield f"{inner}# Add the correct output:"
    if not test.rejected:
        yield f"{inner}# expected: {{}}"
        return
    yield f"{inner}# expected:  # the values of the rejected output"
    for name, value in test.rejected.items():
        yield f"{inner}#   {_render_key(name)}: {_render(value)}"


def _render_key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else _render(name)


def _render(value: Json) -> str:
    """Return a value as YAML on one line: JSON with the escapes that YAML requires."""
    return _escape(json.dumps(value, ensure_ascii=False))


def _escape(text: str) -> str:
    """Return the text with escapes for the characters that a line of YAML cannot contain."""
    for pattern in (INVALID_CHARACTER, _LINE_ENDS):
        text = pattern.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text
