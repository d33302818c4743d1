"""YAML text -> `Document`: the only user of PyYAML.

It reads the parser's events itself, because composed nodes would recurse with the user's nesting,
and because scalars must stay text until somebody knows what they should be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import yaml
from msgspec import Struct, field

from loomgit.config.document import Document, Path, Plain, Tree, describe, dotted, shorten
from loomgit.domain.place import Place, Problem
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Iterator

# The C parser is ten times as fast; both give the same events, in other words when they fail.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

DEEPEST = 64  # levels of nesting: no file that a person writes comes near
MOST_NODES = 50_000  # after aliases are written out: what stops an "alias bomb"
TEXT_TAGS = frozenset(("!", "tag:yaml.org,2002:str"))
STRANGE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

SPACES = "indent with the same number of spaces, and quote a text that contains ': ' or ' #'"
TEMPLATE = 'put a template in quotes: "{{ ... }}"'


class _Node(Struct):
    """A value of the file; `children` of a map are key, value, key, value."""

    kind: str  # "text", "list" or "map"
    line: int
    column: int
    text: str = ""
    text_at: tuple[int, int] = (0, 0)
    flow: bool = False
    anchor: str | None = None
    children: list[_Node] = field(default_factory=list)


class _Faults(Struct):
    path: str
    found: list[Problem] = field(default_factory=list)

    def add(self, line: int, column: int, message: str, hint: str | None = None) -> None:
        self.found.append(Problem(Place(self.path, line, column), message, hint))

    def stop(self, line: int, column: int, message: str, hint: str | None = None) -> ProblemsFound:
        """The error to raise where nothing sensible can be read beyond this fault."""
        self.add(line, column, message, hint)
        return ProblemsFound(self.found)


def parse_yaml(text: str, path: str, *, may_be_empty: bool = False) -> Document:
    """Read one document whose top level is a map; `path` is for the messages.

    Raises ProblemsFound for anything that leaves no tree to look at: syntax, an empty file, several
    documents, nesting or aliases beyond reason.
    """
    faults = _Faults(path)
    text = text.removeprefix("\ufeff")
    strange = STRANGE.search(text)
    if strange:
        line, column = _position(text, strange.start())
        raise faults.stop(line, column, f"a file cannot hold the character U+{ord(strange[0]):04X}")
    try:
        root = _build(text, faults)
    except yaml.MarkedYAMLError as error:
        raise _syntax_fault(error, text, faults) from None
    except yaml.YAMLError as error:
        raise faults.stop(1, 1, f"not YAML: {' '.join(str(error).split())}") from None
    empty = root is None or (root.kind == "text" and root.text == Plain(""))
    if may_be_empty and empty:
        return Document(path, {}, {}, {})
    if root is None or empty:
        raise faults.stop(1, 1, "the file is empty")
    if root.kind != "map":
        found = "a list" if root.kind == "list" else describe(root.text)
        message = f"expected keys at the top level, found {found}"
        raise faults.stop(root.line, root.column, message)
    return _unfold(root, faults)


_Event: TypeAlias = yaml.Event


def _build(text: str, faults: _Faults) -> _Node | None:
    """Nodes from events, with a stack of our own."""
    root: _Node | None = None
    documents = 0
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    for event in _events(text):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                line, column = _mark(event)
                raise faults.stop(line, column, "a second document: a file holds one")
        elif isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            _restore_template(done)
            if done.anchor:
                anchors[done.anchor] = done
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, anchors, text, faults)
            if stack:
                stack[-1].children.append(node)
            else:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append(node)
                if len(stack) > DEEPEST:
                    message = f"nested deeper than {DEEPEST} levels"
                    raise faults.stop(node.line, node.column, message)
    return root


def _events(text: str) -> Iterator[_Event]:
    yield from yaml.parse(text, Loader=_Loader)


def _mark(event: _Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None  # the stubs allow for events that no parser made
    return mark.line + 1, mark.column + 1


def _node(event: yaml.NodeEvent, anchors: dict[str, _Node], text: str, faults: _Faults) -> _Node:
    line, column = _mark(event)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            faults.add(line, column, f"'*{event.anchor}' stands for nothing above it")
            return _Node("text", line, column, Plain(""), (line, column))
        return anchors[event.anchor]
    tag = getattr(event, "tag", None)
    if tag is not None and tag not in TEXT_TAGS:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        faults.add(line, column, f"the tag '{shorten(shown)}' has no meaning here")
    if isinstance(event, yaml.ScalarEvent):
        plain = event.implicit[0] and tag is None
        value = Plain(event.value) if plain else str(event.value)
        node = _Node("text", line, column, value, _text_at(event, text))
        if event.anchor:
            anchors[event.anchor] = node
        return node
    kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "map"
    flow = bool(getattr(event, "flow_style", False))
    return _Node(kind, line, column, text_at=(line, column), flow=flow, anchor=event.anchor)


def _text_at(event: yaml.ScalarEvent, text: str) -> tuple[int, int]:
    """Where the text itself begins: behind a quote, or on the line below `|` and `>`."""
    line, column = _mark(event)
    if event.style in ("'", '"'):
        return line, column + 1
    if event.style in ("|", ">"):
        lines = text.splitlines()
        below = lines[line] if line < len(lines) else ""
        return line + 1, len(below) - len(below.lstrip(" ")) + 1
    return line, column


def _restore_template(node: _Node) -> None:
    """`{{ name }}` without quotes is, to YAML, a map in a map: make it the text it was meant as."""
    if not (node.kind == "map" and node.flow and len(node.children) == 2):
        return
    inner, outer_value = node.children
    if not (inner.kind == "map" and inner.flow and len(inner.children) == 2):
        return
    name, inner_value = inner.children
    hollow = all(n.kind == "text" and not n.text for n in (inner_value, outer_value))
    if hollow and isinstance(name.text, Plain):
        node.kind, node.text, node.children = "text", Plain(f"{{{{ {name.text} }}}}"), []


def _unfold(root: _Node, faults: _Faults) -> Document:
    """Values and places from nodes; aliases are written out, within limits."""
    tree: dict[str, Tree] = {}
    keys: dict[Path, Place] = {(): Place(faults.path, root.line, root.column)}
    texts: dict[Path, Place] = {}
    waiting: list[tuple[_Node, Path, dict[str, Tree] | list[Tree]]] = [(root, (), tree)]
    count = 0
    while waiting:
        node, path, into = waiting.pop()
        entries = _entries(node, path, faults) if isinstance(into, dict) else _items(node)
        for step, at, child in entries:
            count += 1
            inner = (*path, step)
            if len(inner) > DEEPEST or count > MOST_NODES:
                raise faults.stop(at.line, at.column, "aliases make this file too large to read")
            keys[inner] = Place(faults.path, at.line, at.column)
            texts[inner] = Place(faults.path, *child.text_at)
            value: Tree = child.text
            if child.kind != "text":
                value = {} if child.kind == "map" else []
                waiting.append((child, inner, value))
            if isinstance(into, dict):
                into[str(step)] = value
            else:
                into.append(value)
    return Document(faults.path, tree, keys, texts, tuple(faults.found))


def _items(node: _Node) -> Iterator[tuple[str | int, _Node, _Node]]:
    for index, child in enumerate(node.children):
        yield index, child, child


def _entries(node: _Node, path: Path, faults: _Faults) -> Iterator[tuple[str | int, _Node, _Node]]:
    seen: dict[str, int] = {}
    for key, value in zip(node.children[::2], node.children[1::2], strict=True):
        if key.kind != "text":
            faults.add(key.line, key.column, f"a key must be a word, not a {key.kind}")
        elif key.text in seen:
            name = dotted((*path, str(key.text)))
            message = f"{name}: duplicate key, first on line {seen[key.text]}"
            faults.add(key.line, key.column, message)
        else:
            seen[key.text] = key.line
            yield str(key.text), key, value


# What the parser says -> what is said to the user, with what to do about it.
PHRASES = (
    ("mapping values are not allowed", "':' cannot stand here", SPACES),
    ("did not find expected key", "expected a key here", SPACES),
    ("expected <block end>", "expected a key here", SPACES),
    ("did not find expected '-' indicator", "expected '-' here", SPACES),
    ("could not find expected ':'", "expected ':' after the key", SPACES),
    ("unexpected end of stream", "the quote is never closed", None),
    ("did not find expected ',' or ']'", "expected ',' or ']'", None),
    ("expected ',' or ']'", "expected ',' or ']'", None),
    ("did not find expected ',' or '}'", "expected ',' or '}'", None),
    ("expected ',' or '}'", "expected ',' or '}'", None),
    (
        "did not find expected node content",
        "a bracket is never closed, or a value is missing",
        None,
    ),
    ("found unknown escape character", "unknown escape after '\\'", "use single quotes"),
    ("could not determine a constructor", "tags have no meaning here", None),
)


def _syntax_fault(error: yaml.MarkedYAMLError, text: str, faults: _Faults) -> ProblemsFound:
    problem = error.problem or error.context or "not YAML"
    unclosed = "unexpected end of stream" in problem
    mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
    if mark is None:
        return faults.stop(1, 1, f"not YAML: {' '.join(problem.split())}")
    lines = text.splitlines()
    line, column = mark.line + 1, mark.column + 1
    if line > len(lines):  # at the end of the file: show where that is
        line, column = len(lines), len(lines[-1]) + 1
    here = lines[line - 1]
    if "cannot start any token" in problem:
        character = here[column - 1 : column]
        if character == "\t":
            return faults.stop(line, column, "a tab cannot stand here", "use spaces")
        return faults.stop(line, column, f"a text cannot begin with '{character}'", "quote it")
    for said, message, hint in PHRASES:
        if said in problem:
            began = error.context_mark.line if error.context_mark else mark.line
            advice = TEMPLATE if "{{" in "".join(lines[began:line]) else hint
            return faults.stop(line, column, f"not YAML: {message}", advice)
    return faults.stop(line, column, f"not YAML: {' '.join(problem.split())}")


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
