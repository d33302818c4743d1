"""Jinja's sandbox, with limits: a template ends in time, and makes no text of any size.

Templates run on the thread of the event loop, where nothing else can stop them. So operators,
filters and methods that multiply check the size of their result before they make it, and loops and
calls check a deadline.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from jinja2 import Undefined, nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import generate_lorem_ipsum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jinja2.compiler import Frame
    from jinja2.runtime import Context

LARGEST = 2_000_000  # characters of a text, items of a list
LARGEST_NUMBER = 10_000  # bits
DEEPEST_INDENT = 16
MOST_PARAGRAPHS = 1_000
LONGEST_WRAPPED = 100_000  # characters of a text that `wordwrap` and `urlize` split, which is slow
MOST_SORTED = 100_000  # items
SECONDS = 2.0  # for one rendering
_CHECKED = 1_000  # items of a loop between two looks at the clock
_WIDTH = re.compile(r"\d{7,}")  # in a format, as `%10000000d`
_WIDTHS = re.compile(r"\d+")
_NESTED = re.compile(r"\{[^{}]*\{|%[^a-zA-Z%]*\*")
_LOOP = "loom_loop"


class TemplateLimit(SecurityError):
    """A template takes too long, or makes something too large."""


class _Generator(CodeGenerator):
    """Joins the parts of `a ~ b` with a limit."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.join_parts((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates raise TemplateLimit where they would not end or not fit."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - Jinja's own
        super().__init__(**options)
        self._deadline = float("inf")
        special: dict[str, Callable[..., None]] = {
            "indent": _check_indent,
            "replace": _check_replace,
            "join": _check_join,
            "format": _check_format,
            "wordwrap": _check_wrapped,
            "urlize": _check_wrapped,
            "sum": _check_sum,
            **dict.fromkeys(("sort", "dictsort", "groupby", "unique", "min", "max"), _check_sorted),
        }
        self.filters = {
            name: _limited(function, special.get(name, _check_numbers))
            for name, function in {**self.filters, "tojson": to_json}.items()
        }
        self.finalize = _checked
        self.filters[_LOOP] = self._loop
        self.globals["lipsum"] = _generate_text
        self.concat = self._concat  # type: ignore[method-assign]  # a static method of Jinja's

    def start(self) -> None:
        """Begin a rendering: from now on it has SECONDS."""
        self._deadline = time.monotonic() + SECONDS

    def check_time(self) -> None:
        """Raise TemplateLimit if the rendering has taken too long."""
        if time.monotonic() > self._deadline:
            raise TemplateLimit(f"the template takes longer than {SECONDS:g} s")

    # -- loops and calls

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _LOOP, [], [], None, None, lineno=loop.iter.lineno)
        return tree

    def _loop(self, items: Iterable[object]) -> Iterable[object]:
        """The items of a loop, with a look at the clock now and then."""
        self.check_time()
        if isinstance(items, list | tuple | dict | str) and len(items) < _CHECKED:
            return items  # keeps `loop.length` cheap; loops inside of it check for themselves
        return self._watched(items)

    def _watched(self, items: Iterable[object]) -> Iterator[object]:
        for number, item in enumerate(items):
            if number % _CHECKED == 0:
                self.check_time()
            yield item

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, N805 - Jinja's own
        """Call a macro, or a method of a value, within the limits."""
        __self.check_time()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str | bytes | int | list):
            _check_numbers(owner, *args, **kwargs)
            name = getattr(__obj, "__name__", "")
            if name == "expandtabs" and isinstance(owner, str):
                _check_size(owner.count("\t") * sum(map(_count, (*args, *kwargs.values()))))
            elif name == "translate":
                raise TemplateLimit("the method translate is not available")
            if name == "replace":
                _check_replace(owner, *args, **kwargs)
            elif name == "join":
                _check_join(*args, owner)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ANN401 - Jinja's own
        """`"…".format` within the limits; None for anything else."""
        function = super().wrap_str_format(value)
        if function is None:
            return None

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - as `str.format`
            _check_format(value.__self__, *args, **kwargs)
            return function(*args, **kwargs)

        return limited

    # -- sizes

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 - Jinja's own
        """Apply an operator whose result may be large."""
        if operator == "*":
            _check_size(max(_length(left) * _count(right), _length(right) * _count(left)))
            _check_bits(_bits(left) + _bits(right))
        elif operator == "**":
            _check_bits(_bits(left) * abs(_count(right)))
        elif operator == "+":
            _check_size(_length(left) + _length(right))
        elif isinstance(left, str):
            _check_format(left, right)
        return super().call_binop(context, operator, left, right)

    def join_parts(self, parts: Iterable[object]) -> str:
        """The texts of `a ~ b`, joined."""
        texts = [str(part) for part in parts]
        _check_size(sum(map(len, texts)))
        return "".join(texts)

    def _concat(self, parts: Iterable[str]) -> str:
        """The chunks of a rendering, joined."""
        found: list[str] = []
        size = 0
        for number, part in enumerate(parts):
            size += len(part)
            _check_size(size)
            if number % _CHECKED == 0:
                self.check_time()
            found.append(part)
        return "".join(found)


def _generate_text(n: int = 5, **options: Any) -> str:  # noqa: ANN401 - Jinja's own
    """Jinja's `lipsum`, for some paragraphs."""
    if n > MOST_PARAGRAPHS:
        raise TemplateLimit(f"more than {MOST_PARAGRAPHS:,} paragraphs of lipsum")
    return generate_lorem_ipsum(n, **options)


def to_json(value: object, indent: object = None) -> str:
    """A value as JSON, for a prompt and not for a web page: nothing is escaped for HTML."""
    if isinstance(value, Undefined):
        raise UndefinedError(str(value))
    if indent is None:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not isinstance(indent, int) or not 0 <= indent <= DEEPEST_INDENT:
        raise TemplateLimit(f"an indent of JSON is a number from 0 to {DEEPEST_INDENT}")
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=indent)


def _limited(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """A filter that checks its arguments, and the size of its text, first."""
    takes_context = hasattr(function, "jinja_pass_arg")

    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any filter
        given = list(args)
        at = 1 if takes_context else 0
        if len(given) > at and isinstance(given[at], Iterator):  # as `map` gives
            given[at] = list(islice(given[at], LARGEST + 1))
        check(*given[at:], **kwargs)
        for value in given[at:]:
            _checked(value)
        result = function(*given, **kwargs)
        if isinstance(result, str):
            _check_size(len(result))
        return result

    return limited


def _check_numbers(value: object, *args: object, **kwargs: object) -> None:
    """Widths and counts are arguments of filters and methods."""
    del value
    for number in (*args, *kwargs.values()):
        if isinstance(number, int):
            _check_size(abs(number))


def _check_replace(value: object, old: object = "", new: object = "", *rest: object) -> None:
    del rest
    text, part = str(value), str(old)
    count = text.count(part) if part else len(text) + 1
    _check_size(len(text) + count * len(str(new)))


def _check_indent(value: object, width: object = 4, *rest: object, **more: object) -> None:
    del rest, more
    each = width if isinstance(width, int) else len(str(width))
    _check_size((str(value).count("\n") + 1) * each)


def _check_wrapped(value: object, *args: object, **kwargs: object) -> None:
    _check_numbers(value, *args, **kwargs)
    if len(str(value)) > LONGEST_WRAPPED:
        raise TemplateLimit(
            f"more than {LONGEST_WRAPPED:,} characters to split into lines or links"
        )


def _check_sorted(value: object, *args: object, **kwargs: object) -> None:
    _check_numbers(value, *args, **kwargs)
    if isinstance(value, list | tuple | dict | set | str | range) and len(value) > MOST_SORTED:
        raise TemplateLimit(f"more than {MOST_SORTED:,} items to sort or to compare")


def _check_sum(value: object, attribute: object = None, start: object = 0, **more: object) -> None:
    """Lists are not added up: each addition copies what was added before."""
    del value, attribute, more
    if not isinstance(start, int | float):
        raise TemplateLimit("a sum begins with a number")


def _checked(value: object) -> object:
    """A value that is printed or filtered, if it has not too many parts: a list that holds another
    one twice, and so on, has more parts than a text can show."""
    waiting, parts = [value], 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, list | tuple | set):
            waiting += each
            parts += len(each)
        elif isinstance(each, dict):
            waiting += each.values()
            parts += len(each)
        _check_size(parts)
    return value


def _check_join(items: object, between: object = "", *rest: object, **more: object) -> None:
    del rest, more
    if isinstance(items, list | tuple | dict | set | str | range):
        lengths = (len(item) for item in items if isinstance(item, str))
        _check_size(len(items) * len(str(between)) + sum(lengths))


def _check_format(template: object, *args: object, **kwargs: object) -> None:
    """Widths stand in a format, or in what it takes them from: `{:{width}}`, `%*d`."""
    texts = [str(template)]
    _check_size(sum(int(width[:20]) for width in _WIDTHS.findall(texts[0])))
    if _NESTED.search(texts[0]):
        values = [*args, *kwargs.values()]
        values += [item for value in values if isinstance(value, dict) for item in value.values()]
        _check_numbers(template, *values)
        texts += [value for value in values if isinstance(value, str)]
    for match in filter(None, map(_WIDTH.search, texts)):
        _check_size(int(match[0][:20]))


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise TemplateLimit(f"more than {LARGEST:,} characters or items")


def _check_bits(bits: float) -> None:
    if bits > LARGEST_NUMBER:
        raise TemplateLimit(f"a number of more than {LARGEST_NUMBER:,} bits")


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _bits(value: object) -> int:
    return value.bit_length() if isinstance(value, int) else 0
