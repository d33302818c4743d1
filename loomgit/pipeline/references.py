"""The variables that a template reads, found without rendering it: what can be checked up front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateNotFound, nodes
from msgspec import Struct

from loomgit.domain.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jinja2 import Environment

_INCLUDING = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_JINJAS_OWN = {"loop", "self", "super", "caller", "varargs", "kwargs"}
_DEFAULTS = ("default", "d")
_DEFINED = ("defined", "undefined")


class Reference(Struct, frozen=True):
    """A variable from outside: its root (`input`), the name under it (`review`), where it stands.

    `name` is None where the whole root is meant, or the name is computed.
    """

    root: str
    name: str | None
    place: Place

    @property
    def whole(self) -> str:
        """The variable as it is written: `input.review`."""
        return self.root if self.name is None else f"{self.root}.{self.name}"


class Template(Struct, frozen=True):
    """A template's text with the name and the line at which it begins in its file."""

    path: str
    text: str
    shift: int = 0

    def place(self, line: int, word: str) -> Place:
        """Where `word` stands on a line; its first column where it does not stand there."""
        lines = self.text.split("\n")
        column = lines[line - 1].find(word) if 0 < line <= len(lines) else 0
        return Place(self.path, line + self.shift, max(column, 0) + 1)


def find_references(
    environment: Environment, template: Template, load: Callable[[str], str | None]
) -> Iterator[Reference]:
    """All references of a template and of what it includes by name, in order of appearance.

    What is only asked for (`is defined`) or has a default is not among them. Raises Jinja's
    TemplateSyntaxError, and TemplateNotFound where `load` does not know an included name.
    """
    seen: set[str] = set()
    guarded: set[tuple[str, str | None]] = set()  # also in what a template includes
    waiting = [template]
    while waiting:
        current = waiting.pop(0)
        tree = environment.parse(current.text, name=current.path)
        guarded |= _guarded(tree)
        yield from _references(tree, current, set(environment.globals), guarded)
        for names, may_be_missing in _included(tree):
            texts = {name: load(name) for name in names if name not in seen}
            found = {name: text for name, text in texts.items() if text is not None}
            if not found and not may_be_missing and seen.isdisjoint(names):
                raise TemplateNotFound(names[0])
            seen |= found.keys()
            waiting += (Template(name, text) for name, text in found.items())


def _references(
    tree: nodes.Template,
    template: Template,
    known: set[str],
    guarded: set[tuple[str, str | None]],
) -> Iterator[Reference]:
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    own |= {macro.name for macro in tree.find_all(nodes.Macro)} | known | _JINJAS_OWN
    own |= set(_imported(tree))
    names = _names_below(tree)
    optional = _optional(tree)
    for root in tree.find_all(nodes.Name):
        if root.ctx != "load" or root.name in own or id(root) in optional:
            continue
        if (root.name, names.get(id(root))) in guarded:
            continue
        found = Reference(root.name, names.get(id(root)), Place(template.path))
        place = template.place(root.lineno, found.whole)
        yield Reference(found.root, found.name, place)


def _names_below(tree: nodes.Template) -> dict[int, str]:
    """For each root node by identity, the constant name that is read from it; a method of a map,
    as in `input.get("x")`, is not a name of it."""
    methods = {id(call.node) for call in tree.find_all(nodes.Call)}
    names = {
        id(access.node): access.attr
        for access in tree.find_all(nodes.Getattr)
        if isinstance(access.node, nodes.Name)
        and not (id(access) in methods and hasattr(dict, access.attr))
    }
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and isinstance(item.arg, nodes.Const):
            names[id(item.node)] = str(item.arg.value)
    return names


def _optional(tree: nodes.Template) -> set[int]:
    tests = [test for test in tree.find_all(nodes.Test) if test.name in _DEFINED]
    filters = [f for f in tree.find_all(nodes.Filter) if f.name in _DEFAULTS and f.node]
    inner = [test.node for test in tests] + [f.node for f in filters if f.node]
    return {id(name) for node in inner for name in (node, *node.find_all(nodes.Name))}


def _guarded(tree: nodes.Template) -> set[tuple[str, str | None]]:
    """The names that a template asks for before it reads them: `{% if input.x is defined %}`,
    `{% if "x" in input %}`, `{% if input.get("x") %}`."""
    names, optional = _names_below(tree), _optional(tree)
    asked = {
        (root.name, names.get(id(root)))
        for root in tree.find_all(nodes.Name)
        if id(root) in optional and id(root) in names
    }
    for comparison in tree.find_all(nodes.Compare):
        for operand in comparison.ops:
            holder: nodes.Node = _map_of(operand.expr, "keys") or operand.expr
            name = comparison.expr
            if (
                operand.op == "in"
                and isinstance(holder, nodes.Name)
                and isinstance(name, nodes.Const)
            ):
                asked.add((holder.name, str(name.value)))
    for call in tree.find_all(nodes.Call):
        asked_of = _map_of(call, "get")
        if asked_of is not None and call.args and isinstance(call.args[0], nodes.Const):
            asked.add((asked_of.name, str(call.args[0].value)))
    return asked


def _map_of(node: nodes.Node, method: str) -> nodes.Name | None:
    """The variable whose method a call is: `input` of `input.get("x")`; None for other nodes."""
    callee = node.node if isinstance(node, nodes.Call) else None
    if isinstance(callee, nodes.Getattr) and callee.attr == method:
        return callee.node if isinstance(callee.node, nodes.Name) else None
    return None


def has_computed_includes(environment: Environment, texts: Iterable[str]) -> bool:
    """Whether one of these templates includes another by a name that is not written out."""
    return any(
        not _written_out(statement)
        for text in texts
        for statement in environment.parse(text).find_all(_INCLUDING)
    )


def _imported(tree: nodes.Template) -> Iterator[str]:
    """The names that `{% import %}` and `{% from %}` define."""
    for statement in tree.find_all(nodes.Import):
        yield statement.target
    for selection in tree.find_all(nodes.FromImport):
        for name in selection.names:
            yield name if isinstance(name, str) else name[1]


def _written_out(statement: nodes.Node) -> list[str]:
    """The names of the templates that a statement includes, one of which is used; none if they are
    put together when the template is rendered."""
    target = getattr(statement, "template", None)
    items = target.items if isinstance(target, nodes.List | nodes.Tuple) else [target]
    names = [item.value for item in items if isinstance(item, nodes.Const)]
    return names if len(names) == len(items) and all(isinstance(n, str) for n in names) else []


def _included(tree: nodes.Template) -> Iterator[tuple[list[str], bool]]:
    """The names of what a template includes, and whether all of them may be missing."""
    for statement in tree.find_all(_INCLUDING):
        if names := _written_out(statement):
            yield names, bool(getattr(statement, "ignore_missing", False))
