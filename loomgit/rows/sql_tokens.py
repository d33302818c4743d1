"""The tokens of an SQL text that matter for parameters: strings, names, comments and `;`.

The syntax of strings and comments depends on the database. If Loom misread the end of a string, it
could place a value inside the string.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from loomgit.rows.query import Placeholder

# Verbose regular expressions. Each has the groups `string`, `name`, `comment`, `value` (the marker
# of a value), `end` (`;`) and, if the database has placeholders of its own, `placeholder`.
_QUESTION_MARKS: Final = r"""(?P<string>'(?:[^']|'')*'?|\$\$.*?(?:\$\$|\Z))
    |(?P<name>"(?:[^"]|"")*"?|`[^`]*`?)
    |(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<value>\0\d+\0)
    |(?P<end>;)
    |(?P<placeholder>\?)"""
# PostgreSQL also has E'' strings with backslashes, $tag$ strings and nested comments (this pattern
# supports one level of nesting). In PostgreSQL, `?` is an operator.
_POSTGRES: Final = r"""(?P<string>(?<!\w)[eE]'(?:[^'\\]|''|\\.)*'?|'(?:[^']|'')*'?
        |(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    |(?P<name>"(?:[^"]|"")*"?)
    |(?P<comment>--[^\n]*|/\*(?:/\*.*?\*/|.)*?(?:\*/|\Z))
    |(?P<value>\0\d+\0)
    |(?P<end>;)
    |(?P<placeholder>(?<![\w$])\$\d+)"""
# In MySQL, a backslash escapes a character in a string, `"` encloses a string, `#` begins a
# comment, and `--` begins a comment only before white space: `5--1` is 6.
_MYSQL: Final = r"""(?P<string>'(?:[^'\\]|''|\\.)*'?|"(?:[^"\\]|""|\\.)*"?)
    |(?P<name>`[^`]*`?)
    |(?P<comment>--(?=\s|\Z)[^\n]*|\#[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<value>\0\d+\0)
    |(?P<end>;)"""
_MSSQL: Final = r"""(?P<string>'(?:[^']|'')*'?)
    |(?P<name>"(?:[^"]|"")*"?|\[(?:[^\]]|\]\])*\]?)
    |(?P<comment>--[^\n]*|/\*(?:/\*.*?\*/|.)*?(?:\*/|\Z))
    |(?P<value>\0\d+\0)
    |(?P<end>;)"""
_DUCKDB: Final = r"""(?P<string>(?<!\w)[eE]'(?:[^'\\]|''|\\.)*'?|'(?:[^']|'')*'?
        |(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    |(?P<name>"(?:[^"]|"")*"?)
    |(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<value>\0\d+\0)
    |(?P<end>;)
    |(?P<placeholder>\?|(?<![\w$])\$\w+)"""
_STANDARD: Final = _QUESTION_MARKS.replace(r"|(?P<placeholder>\?)", "")
_OF_DIALECT: Final = {
    "cockroachdb": _POSTGRES,
    "duckdb": _DUCKDB,
    "mariadb": _MYSQL,
    "mssql": _MSSQL,
    "mysql": _MYSQL,
    "oracle": _STANDARD,
    "postgresql": _POSTGRES,
    "sqlite": _QUESTION_MARKS,
}
_HINT = re.compile(r"/\*(?:\+|M?!)|--\+")
# A string that ends at a different quote if a backslash escapes the quote.
_ESCAPED_QUOTE = re.compile(r"(?P<quote>['\"]).*?(?<!\\)(?:\\\\)*\\(?P=quote)", re.DOTALL)


class SqlSyntax(Struct, frozen=True):
    """The syntax of the SQL of a database.

    `token` matches the next token. If `unknown_escapes` is true, Loom does not know whether the
    database treats a backslash in a string as an escape character.
    """

    token: re.Pattern[str]
    placeholder: Placeholder
    unknown_escapes: bool = False

    def literal(self, text: str) -> str:
        r"""Return SQL text without a parameter, as it stands in the query with placeholders.

        SQLAlchemy reads `:name` as a placeholder, also inside a string, unless it is `\:name`.
        """
        return text.replace(":", "\\:") if self.placeholder == ":n" else text

    def parameter(self, number: int) -> str:
        """Return the placeholder of the parameter with this number, from 1."""
        match self.placeholder:
            case "?":
                return "?"
            case "$n":
                return f"${number}"
            case ":n":
                return f":{parameter_name(number)}"

    def comment(self, text: str) -> str:
        """Return spaces and line breaks in place of a comment.

        With SQLAlchemy, a hint for the optimizer (`/*+ ... */`) and a comment that MySQL executes
        (`/*! ... */`) stay unchanged.
        """
        if self.placeholder == ":n" and _HINT.match(text):
            return self.literal(re.sub(r"\0\d+\0", " ", text))
        return re.sub(r"[^\n]", " ", text)

    def is_ambiguous(self, quoted: str) -> bool:
        """Whether it is unknown where a quoted text ends, because a backslash precedes a quote."""
        return self.unknown_escapes and _ESCAPED_QUOTE.match(quoted) is not None


def parameter_name(number: int) -> str:
    """Return the name of a parameter in a query for SQLAlchemy. The first number is 1."""
    return f"loom_{number}"


def find_syntax(placeholder: Placeholder, dialect: str = "") -> SqlSyntax:
    """Return the syntax for a kind of placeholders, and for a dialect of SQLAlchemy with `:n`."""
    if placeholder == "?":
        return SqlSyntax(_compile(_QUESTION_MARKS), placeholder)
    if placeholder == "$n":
        return SqlSyntax(_compile(_POSTGRES), placeholder)
    pattern = _OF_DIALECT.get(dialect)
    return SqlSyntax(_compile(pattern or _STANDARD), placeholder, unknown_escapes=pattern is None)


def _compile(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern. Most processes need at most one of them."""
    return re.compile(pattern, re.DOTALL | re.VERBOSE)  # `re` keeps compiled patterns
