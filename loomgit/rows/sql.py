"""SQL templates in Jinja: each `{{ value }}` becomes a bound parameter, never SQL text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.utc import in_utc
from loomgit.errors import UserError
from loomgit.rows.query import BoundQuery, Parameter
from loomgit.rows.sql_tokens import SqlSyntax, find_syntax

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.ports import QueryValues
    from loomgit.rows.query import Placeholder

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
_TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
_VALUE = re.compile(r"\0(\d+)\0")
_BEFORE_NAME = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|BY)\s*\Z", re.IGNORECASE)
_FROM_IN_FUNCTION = re.compile(
    r"(?:\bDISTINCT|\b(?:EXTRACT|SUBSTRING|TRIM)\s*\([^()]*)\s+FROM\s*\Z", re.IGNORECASE
)
_AFTER_COMPARISON = re.compile(r"[=<>]\s*\Z")
_MISSING = re.compile(r"attribute '([^']+)'")


class QueryError(UserError):
    """An error in a query. `line` is the number of the line in the query, from 1."""

    def __init__(self, line: int, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"query line {line}: {message}", hint=hint)
        self.line = line


def bind(
    query: str, values: QueryValues, placeholder: Placeholder = "?", dialect: str = ""
) -> BoundQuery:
    """Render the template `query` and bind each `{{ }}` value as a parameter.

    The template can use `execution_date`, `watermark`, `vars` and the statements `{% if %}`,
    `{% for %}` and `{% set %}`. A value cannot be inside quotes or replace the name of a table or
    column. A list becomes `?, ?, ?`, so that `IN ({{ vars.ids }})` is valid SQL. This also works
    for an empty list. `placeholder` is `?` for SQLite and DuckDB, `$n` for PostgreSQL, and `:n` for
    SQLAlchemy. `dialect` is SQLAlchemy's name of the database, such as `mysql`.

    `execution_date` is a datetime in UTC. With `$n` and `:n`, dates and datetimes are bound as
    such. With `?`, they are bound as the text `YYYY-MM-DD HH:MM:SS`, followed by the fraction of
    the second if the fraction is not zero. SQLite's date functions use this format, and DuckDB
    converts the text in comparisons with dates and timestamps. For columns in other formats, use a
    method: `{{ execution_date.date() }}`, `.isoformat()` or `.timestamp()`.

    Raises QueryError for an invalid query. A query such as `column > {{ watermark }}` is also an
    error if the value is null, because no row would match.
    """
    if "\0" in query:
        raise QueryError(
            query[: query.index("\0")].count("\n") + 1, "the query contains a NUL character"
        )
    variables: Mapping[str, object] = values.variables or {}
    environment = _QueryEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    try:
        tree = environment.parse(query)
    except jinja2.TemplateSyntaxError as fault:
        raise QueryError(
            fault.lineno, fault.message or "the query is not a valid template"
        ) from fault
    _check(tree, variables)
    for output in tree.find_all(nodes.Output):
        output.nodes = [_collector_call(node) for node in output.nodes]
    syntax = find_syntax(placeholder, dialect)
    collector = _ValueCollector(variables, placeholder)
    template = jinja2.Template.from_code(
        environment, environment.compile(tree, filename=_FILE), {}, None
    )
    try:
        rendered = template.render(
            {
                "execution_date": in_utc(values.execution_date),
                "watermark": values.watermark,
                "vars": variables,
                _BIND: collector.take,
            }
        )
    except _TEMPLATE_ERRORS as fault:
        raise _query_error(fault, variables) from fault
    return _place_parameters(rendered, collector.bound, syntax)


def uses_execution_date(query: str) -> bool:
    """Whether the template uses the value `execution_date`. False for an invalid template."""
    try:
        tree = _QueryEnvironment().parse(query)
    except jinja2.TemplateSyntaxError:
        return False
    return any(name.name == "execution_date" for name in tree.find_all(nodes.Name))


class _QueryEnvironment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: object, attribute: str) -> object:
        # If a user defines the variable `items`, `vars.items` is its value, not the method of dict.
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Bound(Struct, frozen=True):
    line: int
    value: Parameter


class _ValueCollector:
    """Collects each value that the template outputs, and the line of the value in the query."""

    def __init__(self, variables: Mapping[str, object], placeholder: Placeholder) -> None:
        self.bound: list[_Bound] = []
        self.placeholder = placeholder
        self._variables = variables

    def take(self, value: object, line: int) -> str:
        """Store `value` and return its placeholder for the rendered text.

        Raises QueryError if the value is undefined or cannot be a parameter.
        """
        if isinstance(value, jinja2.Undefined):
            name = str(value._undefined_name)
            full_name = f"vars.{name}" if value._undefined_obj is self._variables else name
            raise _unknown(line, full_name, self._variables)
        if isinstance(value, list | tuple):
            if not value:
                return "SELECT NULL WHERE 1 = 0"  # returns no rows; `IN ()` is not standard SQL
            return ", ".join(self._mark(item, line) for item in value)
        return self._mark(value, line)

    def _mark(self, value: object, line: int) -> str:
        self.bound.append(_Bound(line, self._parameter(value, line)))
        return f"\0{len(self.bound) - 1}\0"

    def _parameter(self, value: object, line: int) -> Parameter:
        if isinstance(value, date):
            if isinstance(value, datetime):
                value = in_utc(value)
            if self.placeholder != "?":
                return value
            return str(value.replace(tzinfo=None) if isinstance(value, datetime) else value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return str(value)
        raise QueryError(
            line,
            f"a value of type {type(value).__name__} cannot be a parameter",
            hint="use text, numbers, true, false, null, dates or lists of these as parameters",
        )


def _collector_call(node: nodes.Expr) -> nodes.Expr:
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
    """Raise QueryError if the template has a forbidden Jinja statement or an unknown variable."""
    for forbidden in tree.find_all(_FORBIDDEN):
        raise QueryError(
            forbidden.lineno,
            f"'{_statement_name(forbidden)}' is not allowed in a query",
            hint="use only {% if %}, {% for %} and {% set %}",
        )
    names = list(tree.find_all(nodes.Name))
    assigned = {name.name for name in names if name.ctx != "load"} | {"loop"}
    for name in names:
        if name.ctx == "load" and name.name not in NAMES and name.name not in assigned:
            raise _unknown(name.lineno, name.name, variables)


def _statement_name(node: nodes.Node) -> str:
    return type(node).__name__.lower().removesuffix("block").replace("assign", "set")


def _unknown(line: int, name: str, variables: Mapping[str, object]) -> QueryError:
    known = ["execution_date", "watermark", *(f"vars.{variable}" for variable in variables)]
    hint = (
        f"did you mean 'vars.{name}'?"
        if name in variables
        else suggest_or_list(name, known, "there are")
    )
    return QueryError(line, f"unknown variable '{name}'", hint=hint)


def _query_error(fault: Exception, variables: Mapping[str, object]) -> QueryError:
    line, traceback = 1, fault.__traceback__
    while traceback is not None:  # the innermost frame of the template has the line of the error
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    if isinstance(fault, jinja2.UndefinedError) and (missing := _MISSING.search(str(fault))):
        return _unknown(line, f"vars.{missing[1]}", variables)
    return QueryError(line, str(fault))


def _place_parameters(rendered: str, bound: list[_Bound], syntax: SqlSyntax) -> BoundQuery:
    """Replace the marker of each value with a placeholder; remove comments and the final `;`.

    Raises QueryError if the SQL is empty, has several statements, contains a placeholder of its
    own, or has a value at a position where SQL allows no parameter.
    """
    text = ""
    used: list[_Bound] = []
    compared: list[bool] = []
    parameters: list[Parameter] = []
    position = 0
    for token in syntax.token.finditer(rendered):
        text += syntax.literal(rendered[position : token.start()])
        position = token.end()
        for index in _VALUE.findall(token[0]):
            if token.lastgroup == "comment":
                break
            _reject_quoted(bound[int(index)].line, token.lastgroup or "")
        match token.lastgroup:
            case "comment":
                text += syntax.comment(token[0])
            case "value":
                value = bound[int(token[0].strip("\0"))]
                _reject_identifier(value.line, text, rendered[position : position + 1])
                used.append(value)
                compared.append(_AFTER_COMPARISON.search(text) is not None)
                if value.value is None and syntax.placeholder != "?":
                    text += "NULL"  # PostgreSQL cannot find out the type of a null parameter
                    continue
                parameters.append(value.value)
                text += syntax.parameter(len(parameters))
            case "end":
                if _only_comments(rendered[position:], syntax.token):
                    break
                raise QueryError(
                    _line(rendered, token.start()), "the query has more than one statement"
                )
            case "placeholder":
                raise QueryError(
                    _line(rendered, token.start()),
                    f"'{token[0]}' has no value",
                    hint="write {{ vars.NAME }} instead",
                )
            case _:
                if bound and syntax.is_ambiguous(token[0]):
                    raise _ambiguous_string(_line(rendered, token.start()))
                text += syntax.literal(token[0])
    else:
        text += syntax.literal(rendered[position:])
    if not text.strip():
        raise QueryError(1, "the query is empty")
    _reject_null_comparison(used, compared)
    return BoundQuery(text.rstrip(), tuple(parameters))


def _only_comments(remainder: str, pattern: re.Pattern[str]) -> bool:
    kinds: Iterator[str | None] = (token.lastgroup for token in pattern.finditer(remainder))
    return not pattern.sub("", remainder).strip() and all(
        kind in ("comment", "end") for kind in kinds
    )


def _ambiguous_string(line: int) -> QueryError:
    return QueryError(
        line,
        "a backslash before a quote: Loom does not know where this database ends the string",
        hint="write a quote inside a string as two quotes, or pass the text as a {{ }} value",
    )


def _line(rendered: str, position: int) -> int:
    return rendered.count("\n", 0, position) + 1


def _reject_quoted(line: int, kind: str) -> None:
    if kind == "string":
        raise QueryError(
            line,
            "a value inside quotes cannot be bound as a parameter",
            hint="remove the quotes; {{ }} also binds text as a parameter",
        )
    if kind == "name":
        raise _identifier_error(line)


def _reject_identifier(line: int, before: str, after: str) -> None:
    if re.search(r"[\w.?]\Z", before) or re.match(r"[\w.\0]", after):
        if before.endswith("?") or after == "\0":
            raise QueryError(
                line,
                "two values have no operator or comma between them",
                hint="for a list, write IN ({{ vars.ids }}); the commas are added",
            )
        raise _identifier_error(line)
    if _BEFORE_NAME.search(before) and not _FROM_IN_FUNCTION.search(before):
        raise _identifier_error(line)


def _identifier_error(line: int) -> QueryError:
    return QueryError(
        line,
        "a {{ }} value cannot be the name of a table or column",
        hint="{{ }} binds a parameter; use {% if %} to choose between names",
    )


def _reject_null_comparison(used: list[_Bound], compared: list[bool]) -> None:
    """Raise QueryError if all null parameters directly follow comparison operators.

    A comparison with null is never true. If at least one null parameter is in another position, as
    in `{{ watermark }} IS NULL OR ...` or `coalesce(...)`, the query may handle null itself. No
    error is raised if there are no null parameters. `compared` has one item per parameter. The item
    is true if the parameter follows a comparison operator.
    """
    nulls = [
        (value, direct) for value, direct in zip(used, compared, strict=True) if value.value is None
    ]
    if nulls and all(direct for _, direct in nulls):
        raise QueryError(
            nulls[0][0].line,
            "a comparison with null is never true (`watermark` is null until a run has loaded)",
            hint="put the comparison inside {% if watermark is not none %} ... {% endif %}",
        )
