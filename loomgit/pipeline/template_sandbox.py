"""Jinja's sandbox with limits on the time of a rendering and on the size of its values.

Templates run in the thread of the event loop, where nothing else can stop them. Therefore, an
operator, filter or method that can produce a large result checks the size before it computes the
result. Loops and calls check a deadline.
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

MAX_SIZE = 2_000_000  # maximum number of characters of a text, and of items of a list
LARGEST_NUMBER = 10_000  # maximum number of bits of an integer
DEEPEST_INDENT = 16
MOST_PARAGRAPHS = 1_000
LONGEST_WRAPPED = 100_000  # maximum length of a text for the slow filters `wordwrap` and `urlize`
MOST_SORTED = 100_000  # maximum number of items that a filter sorts or compares
SECONDS = 2.0  # maximum time of one rendering
_CHECKED = 1_000  # number of items after which a loop checks the deadline again
_WIDTH = re.compile(r"\d{7,}")  # matches a large width in a format, such as `%10000000d`
_WIDTHS = re.compile(r"\d+")
_NESTED = re.compile(r"\{[^{}]*\{|%[^a-zA-Z%]*\*")
_LOOP = "loom_loop"


class TemplateLimit(SecurityError):
    """A template takes too long, or computes a value that is too large."""


class _Generator(CodeGenerator):
    """Compiles `a ~ b` to a call that limits the size of the result."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.join_parts((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which a template that exceeds a limit raises TemplateLimit."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - Jinja's signature
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
        self.finalize = _check_parts
        self.filters[_LOOP] = self._loop
        self.globals["lipsum"] = _generate_text
        self.concat = self._concat  # type: ignore[method-assign]  # a static method in Jinja

    def start(self) -> None:
        """Set the deadline of a rendering to SECONDS from now."""
        self._deadline = time.monotonic() + SECONDS

    def check_time(self) -> None:
        """Raise TemplateLimit if the rendering takes too long."""
        if time.monotonic() > self._deadline:
            raise TemplateLimit(f"the template takes longer than {SECONDS:g} s")

    # -- loops and calls

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _LOOP, [], [], None, None, lineno=loop.iter.lineno)
        return tree

    def _loop(self, items: Iterable[object]) -> Iterable[object]:
        """Return the items of a loop. The iteration checks the deadline regularly."""
        self.check_time()
        if isinstance(items, list | tuple | dict | str) and len(items) < _CHECKED:
            return items  # unchanged, so `loop.length` stays fast; inner loops check the deadline
        return self._with_checks(items)

    def _with_checks(self, items: Iterable[object]) -> Iterator[object]:
        for number, item in enumerate(items):
            if number % _CHECKED == 0:
                self.check_time()
            yield item

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, N805 - Jinja's signature
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

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ANN401 - Jinja's signature
        """Return a function that checks the limits and then calls the method `value`.

        Return None if `value` is not the method `format` or `format_map` of a text.
        """
        function = super().wrap_str_format(value)
        if function is None:
            return None

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - as `str.format`
            _check_format(value.__self__, *args, **kwargs)
            return function(*args, **kwargs)

        return limited

    # -- sizes

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 - Jinja's signature
        """Check the size of an operator's result, then apply the operator."""
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
        """Join the parts of `a ~ b`, and check the size of the result."""
        texts = [str(part) for part in parts]
        _check_size(sum(map(len, texts)))
        return "".join(texts)

    def _concat(self, parts: Iterable[str]) -> str:
        """Join the parts of the rendered text, and check its size and the deadline."""
        chunks: list[str] = []
        size = 0
        for number, part in enumerate(parts):
            size += len(part)
            _check_size(size)
            if number % _CHECKED == 0:
                self.check_time()
            chunks.append(part)
        return "".join(chunks)


def _generate_text(n: int = 5, **options: Any) -> str:  # noqa: ANN401 - Jinja's signature
    """Generate filler text. This is Jinja's `lipsum`, limited to MOST_PARAGRAPHS paragraphs."""
    if n > MOST_PARAGRAPHS:
        raise TemplateLimit(f"lipsum is limited to {MOST_PARAGRAPHS:,} paragraphs")
    return generate_lorem_ipsum(n, **options)


def to_json(value: object, indent: object = None) -> str:
    """Return a value as JSON for a prompt. Unlike Jinja's `tojson`, it does not escape HTML."""
    if isinstance(value, Undefined):
        raise UndefinedError(str(value))
    if indent is None:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not isinstance(indent, int) or not 0 <= indent <= DEEPEST_INDENT:
        raise TemplateLimit(f"the indent of tojson must be from 0 to {DEEPEST_INDENT}")
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=indent)


def _limited(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """Return the filter `function` with checks.

    `check` checks the arguments before each call. If the result of a call is a text, its size is
    checked too.
    """
    takes_context = hasattr(function, "jinja_pass_arg")

    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any filter
        values = list(args)
        first = 1 if takes_context else 0
        if len(values) > first and isinstance(values[first], Iterator):  # from `map`, for example
            values[first] = list(islice(values[first], MAX_SIZE + 1))
        check(*values[first:], **kwargs)
        for value in values[first:]:
            _check_parts(value)
        result = function(*values, **kwargs)
        if isinstance(result, str):
            _check_size(len(result))
        return result

    return limited


def _check_numbers(value: object, *args: object, **kwargs: object) -> None:
    """Check integer arguments, because they can be widths or numbers of repetitions."""
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
    size = width if isinstance(width, int) else len(str(width))
    _check_size((str(value).count("\n") + 1) * size)


def _check_wrapped(value: object, *args: object, **kwargs: object) -> None:
    _check_numbers(value, *args, **kwargs)
    if len(str(value)) > LONGEST_WRAPPED:
        raise TemplateLimit(f"wordwrap and urlize are limited to {LONGEST_WRAPPED:,} characters")


def _check_sorted(value: object, *args: object, **kwargs: object) -> None:
    _check_numbers(value, *args, **kwargs)
    if isinstance(value, list | tuple | dict | set | str | range) and len(value) > MOST_SORTED:
        raise TemplateLimit(f"sorting and comparing is limited to {MOST_SORTED:,} items")


def _check_sum(value: object, attribute: object = None, start: object = 0, **more: object) -> None:
    """Refuse sums that do not start with a number.

    A sum of lists is slow, because each addition copies all previous items.
    """
    del value, attribute, more
    if not isinstance(start, int | float):
        raise TemplateLimit("the argument start of the filter sum must be a number")


def _check_parts(value: object) -> object:
    """Check the number of nested items in a value that is printed or filtered. Return the value.

    A value that needs little memory can become a huge text. An example is a list that contains
    another list twice, which contains a third list twice, and so on.
    """
    pending, parts = [value], 0
    while pending:
        part = pending.pop()
        if isinstance(part, list | tuple | set):
            pending += part
            parts += len(part)
        elif isinstance(part, dict):
            pending += part.values()
            parts += len(part)
        _check_size(parts)
    return value


def _check_join(items: object, separator: object = "", *rest: object, **more: object) -> None:
    del rest, more
    if isinstance(items, list | tuple | dict | set | str | range):
        lengths = (len(item) for item in items if isinstance(item, str))
        _check_size(len(items) * len(str(separator)) + sum(lengths))


def _check_format(template: object, *args: object, **kwargs: object) -> None:
    """Check the widths in a format string, and arguments that set a width (`{:{width}}`, `%*d`)."""
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
    if size > MAX_SIZE:
        raise TemplateLimit(f"a value has more than {MAX_SIZE:,} characters or items")


def _check_bits(bits: float) -> None:
    if bits > LARGEST_NUMBER:
        raise TemplateLimit(f"a number has more than {LARGEST_NUMBER:,} bits")


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _bits(value: object) -> int:
    return value.bit_length() if isinstance(value, int) else 0
