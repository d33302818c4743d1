"""Prompts: Jinja2 in a sandbox, strict about names, over records that are data and never template.

Front matter (`---` YAML `---`) is metadata and not part of what is sent; its lines still count, so
that an error names the line that an editor shows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError, TemplateError, TemplateNotFound
from jinja2.loaders import FunctionLoader

from loomgit.domain.place import Place, Problem
from loomgit.domain.words import did_you_mean, nearest
from loomgit.errors import ProblemsFound, UserError
from loomgit.pipeline.front_matter import split_front_matter
from loomgit.pipeline.references import Reference, Template, find_references, has_computed_includes
from loomgit.pipeline.sandbox import LimitedEnvironment, TemplateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.values import JsonMapping

ROOTS = ("input", "context", "vars")
SHOWN_FIELDS = 12
_NO_ATTRIBUTE = re.compile(r"has no attribute '([^']*)'")
# What a template's own expressions may raise on a record: a filter on a wrong type, a division.
_EXPRESSION_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)


class RenderFailure(Exception):
    """A prompt cannot be rendered for this record; the text is the one-line reason."""


class _RefusedInclude(SecurityError):
    """A template that may not be included."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class _Environment(LimitedEnvironment):
    """`input.items` is the record's field of that name where it has one, not a dict's method."""

    def getattr(self, obj: object, attribute: str) -> object:
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class Prompt:
    """A compiled prompt; `include` reads other templates at the prompt's own version.

    `include` raises UserError for a template that may not be included. Raises ProblemsFound where
    it is no template, or includes one that does not exist or may not be included.
    """

    def __init__(
        self, path: str, text: str, *, include: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self.path = path
        _, shift, body = split_front_matter(text)
        if not shift and text.startswith("---\n"):
            hint = "write a line --- under the metadata, or take the first line away"
            raise ProblemsFound([Problem(Place(path), "the front matter is not closed", hint)])
        self._source = Template(path, body, shift)
        self._included: dict[str, str] = {}
        self._include = include
        self._environment = _Environment(
            undefined=StrictUndefined,
            autoescape=False,  # the output is a prompt, not HTML
            loader=FunctionLoader(self._load_named),
        )
        try:
            found = find_references(self._environment, self._source, self._load)
            self.references: tuple[Reference, ...] = tuple(found)
            self._template = self._environment.from_string(body)
        except TemplateSyntaxError as error:
            shift = self._source.shift if error.name in (None, path) else 0
            place = Place(error.name or path, error.lineno + shift)
            message = _sentence(error.message or "not a template")
            raise ProblemsFound([Problem(place, message)]) from error
        except TemplateNotFound as error:
            message = f"template {error.name} does not exist"
            raise ProblemsFound([self._at_include(str(error.name), message)]) from error
        except RecursionError as error:
            raise ProblemsFound(
                [Problem(Place(path), "the template is nested too deeply")]
            ) from error
        except _RefusedInclude as error:
            raise ProblemsFound([self._at_include(error.name, str(error))]) from error

    def _load(self, name: str) -> str | None:
        try:
            source = self._include(name)
        except UserError as error:
            raise _RefusedInclude(name, error.message) from error
        if source is not None:
            self._included[name] = source
        return source

    def _load_named(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        """For Jinja: the source with the file's name, which then stands in its tracebacks."""
        source = self._load(name)
        return None if source is None else (source, name, lambda: True)

    def _at_include(self, name: str, message: str) -> Problem:
        for source in (self._source, *(Template(n, t) for n, t in self._included.items())):
            for number, line in enumerate(source.text.split("\n"), 1):
                if name in line:
                    return Problem(source.place(number, name), message)
        return Problem(Place(self.path), message)

    @property
    def includes(self) -> Mapping[str, str]:
        """The templates that this one includes, name to source."""
        return self._included

    @property
    def has_computed_includes(self) -> bool:
        """Whether the name of an included template is put together when the prompt is rendered."""
        return has_computed_includes(
            self._environment, (self._source.text, *self._included.values())
        )

    def check(
        self, *, context: Iterable[str], variables: Iterable[str], fields: Iterable[str] | None
    ) -> list[Problem]:
        """What the prompt names and nobody gives; `fields` None leaves the record unchecked."""
        given = {
            "context": sorted(context),
            "vars": sorted(variables),
            "input": None if fields is None else list(fields),
        }
        faults = [fault for ref in self.references if (fault := _fault(ref, given)) is not None]
        return list(dict.fromkeys(faults))  # one for all uses on a line

    def render(
        self,
        *,
        input: JsonMapping,  # noqa: A002 - the word that prompts use
        context: JsonMapping,
        variables: JsonMapping,
    ) -> str:
        """The text to send. Raises RenderFailure with prompt, line and variable."""
        self._environment.start()
        try:
            return self._template.render(input=input, context=context, vars=variables)
        except UndefinedError as error:
            reason = _undefined(str(error), input)
            raise RenderFailure(f"{self._where(error)}: {reason}") from error
        except TemplateLimit as error:
            raise RenderFailure(f"{self._where(error)}: {_sentence(str(error))}") from error
        except SecurityError as error:
            reason = f"not allowed in a prompt: {_sentence(str(error))}"
            raise RenderFailure(f"{self._where(error)}: {reason}") from error
        except _EXPRESSION_ERRORS as error:
            reason = _sentence(str(error) or type(error).__name__)
            raise RenderFailure(f"{self._where(error)}: {reason}") from error

    def _where(self, error: BaseException) -> str:
        """The line of the template that raised, read off the traceback, which Jinja rewrites."""
        found = Place(self.path, 1 + self._source.shift)
        trace = error.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name == "<template>":
                found = Place(self.path, trace.tb_lineno + self._source.shift)
            elif name in self._included:
                found = Place(name, trace.tb_lineno)
            trace = trace.tb_next
        return f"{found.path}:{found.line}"


def _fault(reference: Reference, given: Mapping[str, Sequence[str] | None]) -> Problem | None:
    root, name, place = reference.root, reference.name, reference.place
    if root not in given:
        hint = did_you_mean(root, ROOTS) or "a prompt has input, context and vars"
        return Problem(place, f"unknown variable '{root}'", hint)
    names = given[root]
    if name is None or names is None or name in names:
        return None
    near = nearest(name, names)
    close = f"did you mean '{root}.{near}'?" if near else None
    unknown = f"unknown variable '{reference.whole}'"
    if root == "input":
        has = f"the records have: {', '.join(names[:SHOWN_FIELDS]) or 'no fields'}"
        return Problem(place, f"{unknown}: the records have no field '{name}'", close or has)
    if root == "context":
        has = f"the pipeline gives: {', '.join(names)}" if names else "list it in transform.context"
        return Problem(place, f"{unknown}: the pipeline gives no such context", close or has)
    return Problem(place, f"{unknown}: not given", close or f"say --vars {name}=VALUE")


def _undefined(message: str, record: JsonMapping) -> str:
    """Jinja's `'dict object' has no attribute 'x'`, with our words."""
    match = _NO_ATTRIBUTE.search(message)
    if not match:
        return _sentence(message)
    near = nearest(match[1], list(record))
    close = f"; it has '{near}'" if near else ""
    return f"the record has no field '{match[1]}'{close}"


def _sentence(message: str) -> str:
    return " ".join(message.split()).rstrip(".")
