"""Find the variables that a template uses, for checks before a run. Nothing is rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateNotFound, nodes
from msgspec import Struct

from loomgit.domain.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jinja2 import Environment

_INCLUDING = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_JINJA_NAMES = {"loop", "self", "super", "caller", "varargs", "kwargs"}
_DEFAULTS = ("default", "d")
_DEFINED = ("defined", "undefined")


class Reference(Struct, frozen=True):
    """A use of a variable that the template itself does not define, such as `input.review`.

    `root` is `input`, and `name` is `review`. `name` is None if the template uses the whole root or
    computes the name. `place` is the position in the file.
    """

    root: str
    name: str | None
    place: Place

    @property
    def whole(self) -> str:
        """The variable as it is spelled in the template: `input.review`."""
        return self.root if self.name is None else f"{self.root}.{self.name}"


class Template(Struct, frozen=True):
    """The text of a template. `shift` is the number of lines before the text in the file `path`."""

    path: str
    text: str
    shift: int = 0

    def place(self, line: int, word: str) -> Place:
        """Return the position of `word` in a line.

        If the line does not contain the word, the position is the first column.
        """
        lines = self.text.split("\n")
        column = lines[line - 1].find(word) if 0 < line <= len(lines) else 0
        return Place(self.path, line + self.shift, max(column, 0) + 1)


def find_references(
    environment: Environment, template: Template, load: Callable[[str], str | None]
) -> Iterator[Reference]:
    """Yield the references in a template, then those in the templates that it includes.

    Included templates with computed names are skipped. Variables that are only tested
    (`is defined`) or have a default are left out. `load` returns the text of an included template,
    or None if it does not exist. Raises Jinja's TemplateSyntaxError, and TemplateNotFound if a
    required template does not exist.
    """
    seen: set[str] = set()
    guarded: set[tuple[str, str | None]] = set()  # variables tested so far, in any template
    pending = [template]
    while pending:
        current = pending.pop(0)
        tree = environment.parse(current.text, name=current.path)
        guarded |= _guarded(tree)
        yield from _references(tree, current, set(environment.globals), guarded)
        for names, may_be_missing in _included(tree):
            loaded = {name: load(name) for name in names if name not in seen}
            texts = {name: text for name, text in loaded.items() if text is not None}
            if not texts and not may_be_missing and seen.isdisjoint(names):
                raise TemplateNotFound(names[0])
            seen |= texts.keys()
            pending += (Template(name, text) for name, text in texts.items())


def _references(
    tree: nodes.Template,
    template: Template,
    global_names: set[str],
    guarded: set[tuple[str, str | None]],
) -> Iterator[Reference]:
    defined = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    defined |= {macro.name for macro in tree.find_all(nodes.Macro)} | global_names | _JINJA_NAMES
    defined |= set(_imported(tree))
    names = _names_below(tree)
    optional = _optional(tree)
    for root in tree.find_all(nodes.Name):
        if root.ctx != "load" or root.name in defined or id(root) in optional:
            continue
        if (root.name, names.get(id(root))) in guarded:
            continue
        reference = Reference(root.name, names.get(id(root)), Place(template.path))
        place = template.place(root.lineno, reference.whole)
        yield Reference(reference.root, reference.name, place)


def _names_below(tree: nodes.Template) -> dict[int, str]:
    """Return the name that the template looks up in each root, by the id() of the root's node.

    For `input.x` and `input["x"]`, the root is `input` and the name is `x`. Computed names and
    method calls such as `input.get("x")` are left out.
    """
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
    """Return `id(node)` for each Name node in an `is defined` test or before a `default` filter."""
    tests = [test for test in tree.find_all(nodes.Test) if test.name in _DEFINED]
    filters = [f for f in tree.find_all(nodes.Filter) if f.name in _DEFAULTS and f.node]
    inner = [test.node for test in tests] + [f.node for f in filters if f.node]
    return {id(name) for node in inner for name in (node, *node.find_all(nodes.Name))}


def _guarded(tree: nodes.Template) -> set[tuple[str, str | None]]:
    """Return the variables whose existence a template tests: (input, x) for `input.x`.

    Examples of tests are `{% if input.x is defined %}`, `{% if "x" in input %}` and
    `{% if input.get("x") %}`.
    """
    names, optional = _names_below(tree), _optional(tree)
    guarded = {
        (root.name, names.get(id(root)))
        for root in tree.find_all(nodes.Name)
        if id(root) in optional and id(root) in names
    }
    for comparison in tree.find_all(nodes.Compare):
        for operand in comparison.ops:
            container: nodes.Node = _map_of(operand.expr, "keys") or operand.expr
            name = comparison.expr
            if (
                operand.op == "in"
                and isinstance(container, nodes.Name)
                and isinstance(name, nodes.Const)
            ):
                guarded.add((container.name, str(name.value)))
    for call in tree.find_all(nodes.Call):
        variable = _map_of(call, "get")
        if variable is not None and call.args and isinstance(call.args[0], nodes.Const):
            guarded.add((variable.name, str(call.args[0].value)))
    return guarded


def _map_of(node: nodes.Node, method: str) -> nodes.Name | None:
    """Return the variable on which a node calls `method`, else None.

    For `input.get("x")`, the variable is `input`.
    """
    callee = node.node if isinstance(node, nodes.Call) else None
    if isinstance(callee, nodes.Getattr) and callee.attr == method:
        return callee.node if isinstance(callee.node, nodes.Name) else None
    return None


def has_computed_includes(environment: Environment, texts: Iterable[str]) -> bool:
    """Return whether a template in `texts` computes the name of a template that it includes."""
    return any(
        not _constant_names(statement)
        for text in texts
        for statement in environment.parse(text).find_all(_INCLUDING)
    )


def _imported(tree: nodes.Template) -> Iterator[str]:
    """Yield the names that `{% import %}` and `{% from %}` define."""
    for statement in tree.find_all(nodes.Import):
        yield statement.target
    for selection in tree.find_all(nodes.FromImport):
        for name in selection.names:
            yield name if isinstance(name, str) else name[1]


def _constant_names(statement: nodes.Node) -> list[str]:
    """Return the names in an include statement, or an empty list if the template computes a name.

    If there are several names, Jinja includes the first template that exists.
    """
    target = getattr(statement, "template", None)
    items = target.items if isinstance(target, nodes.List | nodes.Tuple) else [target]
    names = [item.value for item in items if isinstance(item, nodes.Const)]
    return names if len(names) == len(items) and all(isinstance(n, str) for n in names) else []


def _included(tree: nodes.Template) -> Iterator[tuple[list[str], bool]]:
    """Yield the template names of each include statement, and whether the templates may be missing.

    Statements that compute the names are skipped.
    """
    for statement in tree.find_all(_INCLUDING):
        if names := _constant_names(statement):
            yield names, bool(getattr(statement, "ignore_missing", False))
