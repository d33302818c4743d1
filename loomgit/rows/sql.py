"""SQL with Jinja: every `{{ value }}` of a query becomes a bound parameter, never text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from loomgit.domain.moments import in_utc
from loomgit.domain.words import one_of
from loomgit.errors import UserError
from loomgit.rows.query import BoundQuery, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.ports import QueryValues

NAMES = ("execution_date", "watermark", "vars")
_BIND = "_loom_bind"
_FILE = "<query>"
_FORBIDDEN = (
    nodes.AssignBlock,
    nodes.Block,
    nodes.CallBlock,
    nodes.Extends,
    nodes.FilterBlock,
    nodes.FromImport,
    nodes.Import,
    nodes.Include,
    nodes.Macro,
)
_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
_TOKEN: Final = re.compile(
    r"""(?P<string>'(?:[^']|'')*'?|\$\$.*?(?:\$\$|\Z))
    |(?P<name>"(?:[^"]|"")*"?|`[^`]*`?)
    |(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<value>\0\d+\0)
    |(?P<end>;)
    |(?P<question>\?)""",
    re.DOTALL | re.VERBOSE,
)
_VALUE = re.compile(r"\0(\d+)\0")
_NAME_WANTED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|BY)\s*\Z", re.IGNORECASE)
_FROM_A_VALUE = re.compile(
    r"(?:\bDISTINCT|\b(?:EXTRACT|SUBSTRING|TRIM)\s*\([^()]*)\s+FROM\s*\Z", re.IGNORECASE
)
_COMPARED = re.compile(r"[=<>]\s*\Z")
_MISSING = re.compile(r"attribute '([^']+)'")


class QueryError(UserError):
    """A fault of a query; `line` counts from 1 inside the query."""

    def __init__(self, line: int, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"query line {line}: {message}", hint=hint)
        self.line = line


def bind(query: str, values: QueryValues) -> BoundQuery:
    """Render `query` with its `{{ }}` values as parameters.

    `execution_date` is a datetime in UTC, bound as text `YYYY-MM-DD HH:MM:SS` (with a fraction only
    where there is one): what SQLite's own date functions write and compare, and what DuckDB turns
    into a date or a timestamp where it meets one. For columns of other spellings there are its
    methods: `{{ execution_date.date() }}`, `.isoformat()`, `.timestamp()`. A list becomes
    `?, ?, ?`, so `IN ({{ vars.ids }})` works, an empty one included. `{% if %}`, `{% for %}` and
    `{% set %}` are there; identifiers and quoted text cannot be templated.
    Raises QueryError, also for `column > {{ watermark }}` while there is no watermark, since no row
    would ever pass.
    """
    if "\0" in query:
        raise QueryError(query[: query.index("\0")].count("\n") + 1, "a NUL character")
    variables: Mapping[str, object] = values.variables or {}
    environment = _Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    try:
        tree = environment.parse(query)
    except jinja2.TemplateSyntaxError as fault:
        raise QueryError(fault.lineno, fault.message or "not a template") from fault
    _check(tree, variables)
    for output in tree.find_all(nodes.Output):
        output.nodes = [_collected(node) for node in output.nodes]
    collected = _Collected(variables)
    template = jinja2.Template.from_code(
        environment, environment.compile(tree, filename=_FILE), {}, None
    )
    try:
        rendered = template.render(
            {
                "execution_date": in_utc(values.execution_date),
                "watermark": values.watermark,
                "vars": variables,
                _BIND: collected.take,
            }
        )
    except _FAULTS as fault:
        raise _query_error(fault, variables) from fault
    return _placed(rendered, collected)


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: object, attribute: str) -> object:
        # `vars.items` is the user's variable, not the method of dict.
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Bound(Struct, frozen=True):
    line: int
    value: Scalar


class _Collected:
    """The values that the template has put out so far, each with the line it stands on."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        self.bound: list[_Bound] = []
        self._variables = variables

    def take(self, value: object, line: int) -> str:
        """Keep `value` and return what stands for it in the rendered text."""
        if isinstance(value, jinja2.Undefined):
            name = str(value._undefined_name)
            whole = f"vars.{name}" if value._undefined_obj is self._variables else name
            raise _unknown(line, whole, self._variables)
        if isinstance(value, list | tuple):
            if not value:
                return "SELECT NULL WHERE 1 = 0"  # `IN ()` is not SQL; this is the empty set
            return ", ".join(self._mark(item, line) for item in value)
        return self._mark(value, line)

    def _mark(self, value: object, line: int) -> str:
        self.bound.append(_Bound(line, _scalar(value, line)))
        return f"\0{len(self.bound) - 1}\0"


def _scalar(value: object, line: int) -> Scalar:
    if isinstance(value, datetime):
        return str(in_utc(value).replace(tzinfo=None))
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    raise QueryError(
        line,
        f"a value of type {type(value).__name__} cannot be a parameter",
        hint="parameters are text, numbers, true, false, null, dates and lists of these",
    )


def _collected(node: nodes.Expr) -> nodes.Expr:
    if isinstance(node, nodes.TemplateData):
        return node
    line = node.lineno
    call = nodes.Call(
        nodes.Name(_BIND, "load", lineno=line),
        [node, nodes.Const(line, lineno=line)],
        [],
        None,
        None,
        lineno=line,
    )
    call.set_environment(node.environment)  # type: ignore[arg-type]  # set by `parse`
    return call


def _check(tree: nodes.Template, variables: Mapping[str, object]) -> None:
    """Find what no query may do and the names that no query has."""
    for forbidden in tree.find_all(_FORBIDDEN):
        raise QueryError(
            forbidden.lineno,
            f"'{_word(forbidden)}' has no place in a query",
            hint="{% if %}, {% for %} and {% set %} have",
        )
    found = list(tree.find_all(nodes.Name))
    stored = {name.name for name in found if name.ctx != "load"} | {"loop"}
    for name in found:
        if name.ctx == "load" and name.name not in NAMES and name.name not in stored:
            raise _unknown(name.lineno, name.name, variables)


def _word(node: nodes.Node) -> str:
    return type(node).__name__.lower().removesuffix("block").replace("assign", "set")


def _unknown(line: int, name: str, variables: Mapping[str, object]) -> QueryError:
    known = ["execution_date", "watermark", *(f"vars.{variable}" for variable in variables)]
    hint = f"did you mean 'vars.{name}'?" if name in variables else one_of(name, known, "there are")
    return QueryError(line, f"unknown variable '{name}'", hint=hint)


def _query_error(fault: Exception, variables: Mapping[str, object]) -> QueryError:
    line, trace = 1, fault.__traceback__
    while trace is not None:  # Jinja rewrites tracebacks to the lines of the template
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(fault, jinja2.UndefinedError) and (missing := _MISSING.search(str(fault))):
        return _unknown(line, f"vars.{missing[1]}", variables)
    return QueryError(line, str(fault))


def _placed(rendered: str, collected: _Collected) -> BoundQuery:
    """Put `?` where a value may stand; refuse the places where it may not."""
    bound = collected.bound
    done = ""
    used: list[_Bound] = []
    compared: list[bool] = []
    at = 0
    for token in _TOKEN.finditer(rendered):
        done += rendered[at : token.start()]
        at = token.end()
        for index in _VALUE.findall(token[0]):
            if token.lastgroup == "comment":
                break
            _refuse_quoted(bound[int(index)].line, token.lastgroup or "")
        match token.lastgroup:
            case "comment":
                done += re.sub(r"[^\n]", " ", token[0])
            case "value":
                value = bound[int(token[0].strip("\0"))]
                _refuse_identifier(value.line, done, rendered[at : at + 1])
                used.append(value)
                compared.append(_COMPARED.search(done) is not None)
                done += "?"
            case "end":
                if _only_comments(rendered[at:]):
                    break
                raise QueryError(_line(rendered, token.start()), "more than one statement")
            case "question":
                raise QueryError(
                    _line(rendered, token.start()),
                    "'?' stands for no value",
                    hint="write {{ vars.NAME }}",
                )
            case _:
                done += token[0]
    else:
        done += rendered[at:]
    if not done.strip():
        raise QueryError(1, "an empty query")
    _refuse_null(used, compared)
    return BoundQuery(done.rstrip(), tuple(value.value for value in used))


def _only_comments(rest: str) -> bool:
    kinds: Iterator[str | None] = (token.lastgroup for token in _TOKEN.finditer(rest))
    return not _TOKEN.sub("", rest).strip() and all(kind in ("comment", "end") for kind in kinds)


def _line(rendered: str, at: int) -> int:
    return rendered.count("\n", 0, at) + 1


def _refuse_quoted(line: int, kind: str) -> None:
    if kind == "string":
        raise QueryError(
            line,
            "a value inside quotes would be part of the text",
            hint="drop the quotes: {{ }} is bound as a parameter, text included",
        )
    if kind == "name":
        raise _no_identifier(line)


def _refuse_identifier(line: int, before: str, after: str) -> None:
    if re.search(r"[\w.?]\Z", before) or re.match(r"[\w.\0]", after):
        if before.endswith("?") or after == "\0":
            raise QueryError(
                line,
                "two values side by side",
                hint="a list is bound with its commas: IN ({{ vars.ids }})",
            )
        raise _no_identifier(line)
    if _NAME_WANTED.search(before) and not _FROM_A_VALUE.search(before):
        raise _no_identifier(line)


def _no_identifier(line: int) -> QueryError:
    return QueryError(
        line,
        "names of tables and columns cannot be templated",
        hint="{{ }} is bound as a parameter; choose between names with {% if %}",
    )


def _refuse_null(used: list[_Bound], compared: list[bool]) -> None:
    """A comparison with null is never true. Where the query looks at the null elsewhere
    (`{{ watermark }} IS NULL OR ...`, `coalesce`), it knows."""
    nulls = [
        (value, direct) for value, direct in zip(used, compared, strict=True) if value.value is None
    ]
    if nulls and all(direct for _, direct in nulls):
        raise QueryError(
            nulls[0][0].line,
            "a comparison with null is never true (`watermark` is null until a run has loaded)",
            hint="put it inside {% if watermark is not none %} ... {% endif %}",
        )
