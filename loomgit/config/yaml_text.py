"""Parse YAML text to a `Document`. Only this module imports PyYAML.

This module builds the tree of values from the events of PyYAML's parser. It does not use PyYAML's
loader, for two reasons. The loader recurses once per level of nesting. The loader also chooses the
type of each scalar by itself. In Loom, the field that contains a scalar determines the scalar's
type.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import yaml
from msgspec import Struct, field

from loomgit.config.document import Document, Path, Tree, UnquotedScalar, describe, dotted, shorten
from loomgit.domain.place import Place, Problem
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Iterator

# The C parser is ten times faster than the Python parser. Both create the same events, but have
# different error messages.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 64  # the maximum number of levels of nesting; usual files have far fewer levels
# The maximum number of values in a file after all aliases are expanded. A small file with nested
# aliases can expand to a huge number of values.
MAX_NODES = 50_000
TEXT_TAGS = frozenset(("!", "tag:yaml.org,2002:str"))
INVALID_CHARACTER = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)

INDENT_HINT = "indent with the same number of spaces, and put text with ': ' or ' #' in quotes"
TEMPLATE_HINT = 'put the template in quotes: "{{ ... }}"'


class _Node(Struct):
    """A value in the file. The `children` of a map are key, value, key, value and so on."""

    kind: str  # "text", "list" or "map"
    line: int
    column: int
    text: str = ""
    text_at: tuple[int, int] = (0, 0)
    flow: bool = False
    anchor: str | None = None
    children: list[_Node] = field(default_factory=list)


class _ProblemList(Struct):
    """The problems found so far in one file."""

    path: str
    items: list[Problem] = field(default_factory=list)

    def add(self, line: int, column: int, message: str, hint: str | None = None) -> None:
        self.items.append(Problem(Place(self.path, line, column), message, hint))

    def fatal(self, line: int, column: int, message: str, hint: str | None = None) -> ProblemsFound:
        """Add a problem that stops the parser, and return an error with all problems so far."""
        self.add(line, column, message, hint)
        return ProblemsFound(self.items)


def parse_yaml(text: str, path: str, *, may_be_empty: bool = False) -> Document:
    """Parse one YAML document whose top level is a map; `path` appears in messages.

    Raises ProblemsFound for a syntax error, several documents, a top level that is not a map, or a
    document that exceeds MAX_DEPTH or MAX_NODES. Empty text is an error if `may_be_empty` is False.
    Problems that do not stop the parser, such as a duplicate key, are in `Document.problems`.
    """
    problems = _ProblemList(path)
    text = text.removeprefix("\ufeff")
    invalid = INVALID_CHARACTER.search(text)
    if invalid:
        line, column = _position(text, invalid.start())
        character = f"U+{ord(invalid[0]):04X}"
        raise problems.fatal(line, column, f"a YAML file cannot contain the character {character}")
    try:
        root = _build_nodes(text, problems)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, problems) from None
    except yaml.YAMLError as error:
        raise problems.fatal(1, 1, f"not YAML: {' '.join(str(error).split())}") from None
    is_empty = root is None or (root.kind == "text" and root.text == UnquotedScalar(""))
    if may_be_empty and is_empty:
        return Document(path, {}, {}, {})
    if root is None or is_empty:
        raise problems.fatal(1, 1, "the file is empty")
    if root.kind != "map":
        actual = "a list" if root.kind == "list" else describe(root.text)
        message = f"expected keys at the top level, found {actual}"
        raise problems.fatal(root.line, root.column, message)
    return _build_document(root, problems)


_Event: TypeAlias = yaml.Event


def _build_nodes(text: str, problems: _ProblemList) -> _Node | None:
    """Build the tree of nodes from the parser's events, with a stack instead of recursion.

    Returns the root node, or None if the text contains no document.
    """
    root: _Node | None = None
    documents = 0
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    for event in _events(text):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                line, column = _mark(event)
                raise problems.fatal(line, column, "expected one YAML document, found a second one")
        elif isinstance(event, yaml.CollectionEndEvent):
            complete = stack.pop()
            _restore_template(complete)
            if complete.anchor:
                anchors[complete.anchor] = complete
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, anchors, text, problems)
            if stack:
                stack[-1].children.append(node)
            else:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append(node)
                if len(stack) > MAX_DEPTH:
                    message = f"nested deeper than {MAX_DEPTH} levels"
                    raise problems.fatal(node.line, node.column, message)
    return root


def _events(text: str) -> Iterator[_Event]:
    yield from yaml.parse(text, Loader=_Loader)


def _mark(event: _Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None  # every event from the parser has a mark (its line and column)
    return mark.line + 1, mark.column + 1


def _node(
    event: yaml.NodeEvent, anchors: dict[str, _Node], text: str, problems: _ProblemList
) -> _Node:
    line, column = _mark(event)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            problems.add(line, column, f"the alias '*{event.anchor}' has no anchor above it")
            return _Node("text", line, column, UnquotedScalar(""), (line, column))
        return anchors[event.anchor]
    tag = getattr(event, "tag", None)
    if tag is not None and tag not in TEXT_TAGS:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        problems.add(line, column, f"the tag '{shorten(shown)}' is not supported")
    if isinstance(event, yaml.ScalarEvent):
        is_plain = event.implicit[0] and tag is None
        value = UnquotedScalar(event.value) if is_plain else str(event.value)
        node = _Node("text", line, column, value, _text_position(event, text))
        if event.anchor:
            anchors[event.anchor] = node
        return node
    kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "map"
    flow = bool(getattr(event, "flow_style", False))
    return _Node(kind, line, column, text_at=(line, column), flow=flow, anchor=event.anchor)


def _text_position(event: yaml.ScalarEvent, text: str) -> tuple[int, int]:
    """Return the line and column where the text of a scalar begins.

    Quoted text begins after the quote. A block scalar begins on the line after `|` or `>`.
    """
    line, column = _mark(event)
    if event.style in ("'", '"'):
        return line, column + 1
    if event.style in ("|", ">"):
        lines = text.splitlines()
        below = lines[line] if line < len(lines) else ""
        return line + 1, len(below) - len(below.lstrip(" ")) + 1
    return line, column


def _restore_template(node: _Node) -> None:
    """If the node is an unquoted `{{ name }}`, convert it back to text.

    YAML reads such text as a map in a map.
    """
    if not (node.kind == "map" and node.flow and len(node.children) == 2):
        return
    inner, outer_value = node.children
    if not (inner.kind == "map" and inner.flow and len(inner.children) == 2):
        return
    name, inner_value = inner.children
    are_values_empty = all(n.kind == "text" and not n.text for n in (inner_value, outer_value))
    if are_values_empty and isinstance(name.text, UnquotedScalar):
        node.kind, node.text, node.children = "text", UnquotedScalar(f"{{{{ {name.text} }}}}"), []


def _build_document(root: _Node, problems: _ProblemList) -> Document:
    """Build the Document with the values and positions of all nodes, and expand aliases.

    Raises ProblemsFound if the document exceeds MAX_DEPTH or MAX_NODES.
    """
    tree: dict[str, Tree] = {}
    keys: dict[Path, Place] = {(): Place(problems.path, root.line, root.column)}
    texts: dict[Path, Place] = {}
    pending: list[tuple[_Node, Path, dict[str, Tree] | list[Tree]]] = [(root, (), tree)]
    count = 0
    while pending:
        node, path, container = pending.pop()
        entries = _entries(node, path, problems) if isinstance(container, dict) else _items(node)
        for step, start, child in entries:
            count += 1
            child_path = (*path, step)
            if len(child_path) > MAX_DEPTH or count > MAX_NODES:
                raise problems.fatal(start.line, start.column, "aliases make this file too large")
            keys[child_path] = Place(problems.path, start.line, start.column)
            texts[child_path] = Place(problems.path, *child.text_at)
            value: Tree = child.text
            if child.kind != "text":
                value = {} if child.kind == "map" else []
                pending.append((child, child_path, value))
            if isinstance(container, dict):
                container[str(step)] = value
            else:
                container.append(value)
    return Document(problems.path, tree, keys, texts, tuple(problems.items))


def _items(node: _Node) -> Iterator[tuple[str | int, _Node, _Node]]:
    """Yield `(index, node with the position, node with the value)` for each item of a list.

    Both nodes are the item itself, because a list item has no key.
    """
    for index, child in enumerate(node.children):
        yield index, child, child


def _entries(
    node: _Node, path: Path, problems: _ProblemList
) -> Iterator[tuple[str | int, _Node, _Node]]:
    """Yield (text of the key, node of the key, node of the value) for each entry of a map.

    An entry with an invalid or duplicate key is not yielded, but adds a problem to `problems`.
    """
    seen: dict[str, int] = {}
    for key, value in zip(node.children[::2], node.children[1::2], strict=True):
        if key.kind != "text":
            problems.add(key.line, key.column, f"a key must be text, not a {key.kind}")
        elif key.text in seen:
            name = dotted((*path, str(key.text)))
            message = f"{name}: duplicate key, first on line {seen[key.text]}"
            problems.add(key.line, key.column, message)
        else:
            seen[key.text] = key.line
            yield str(key.text), key, value


# Parts of PyYAML's messages, each with Loom's message and a hint.
PYYAML_MESSAGES = (
    ("mapping values are not allowed", "unexpected ':'", INDENT_HINT),
    ("did not find expected key", "expected a key here", INDENT_HINT),
    ("expected <block end>", "expected a key here", INDENT_HINT),
    ("did not find expected '-' indicator", "expected '-' here", INDENT_HINT),
    ("could not find expected ':'", "expected ':' after the key", INDENT_HINT),
    ("unexpected end of stream", "the quote is not closed", None),
    ("did not find expected ',' or ']'", "expected ',' or ']'", None),
    ("expected ',' or ']'", "expected ',' or ']'", None),
    ("did not find expected ',' or '}'", "expected ',' or '}'", None),
    ("expected ',' or '}'", "expected ',' or '}'", None),
    (
        "did not find expected node content",
        "a bracket is not closed, or a value is missing",
        None,
    ),
    ("found unknown escape character", "unknown escape after '\\'", "use single quotes"),
    ("could not determine a constructor", "tags are not supported", None),
)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, problems: _ProblemList) -> ProblemsFound:
    problem = error.problem or error.context or "not YAML"
    is_unclosed = "unexpected end of stream" in problem
    mark = (error.context_mark if is_unclosed else None) or error.problem_mark or error.context_mark
    if mark is None:
        return problems.fatal(1, 1, f"not YAML: {' '.join(problem.split())}")
    lines = text.splitlines()
    line, column = mark.line + 1, mark.column + 1
    if line > len(lines):  # the error is after the last line, so report the end of the file
        line, column = len(lines), len(lines[-1]) + 1
    if "cannot start any token" in problem:
        character = lines[line - 1][column - 1 : column]
        if character == "\t":
            return problems.fatal(line, column, "unexpected tab", "use spaces")
        message = f"text without quotes cannot begin with '{character}'"
        return problems.fatal(line, column, message, "put the text in quotes")
    for phrase, message, hint in PYYAML_MESSAGES:
        if phrase in problem:
            first = error.context_mark.line if error.context_mark else mark.line
            shown_hint = TEMPLATE_HINT if "{{" in "".join(lines[first:line]) else hint
            return problems.fatal(line, column, f"not YAML: {message}", shown_hint)
    return problems.fatal(line, column, f"not YAML: {' '.join(problem.split())}")


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
