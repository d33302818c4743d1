"""Prompts: Jinja2 templates in a sandbox. Each undefined variable is an error.

The text of a record is never interpreted as a template. Front matter (`---` YAML `---`) is metadata
that Loom does not send to the model. Line numbers in error messages include the lines of the front
matter, so that they match the line numbers in an editor.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError, TemplateError, TemplateNotFound
from jinja2.loaders import FunctionLoader

from loomgit.domain.place import Place, Problem
from loomgit.domain.suggestions import did_you_mean, nearest
from loomgit.errors import ProblemsFound, UserError
from loomgit.pipeline.front_matter import split_front_matter
from loomgit.pipeline.references import Reference, Template, find_references, has_computed_includes
from loomgit.pipeline.template_sandbox import LimitedEnvironment, TemplateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.values import JsonMapping

ROOTS = ("input", "context", "vars")
SHOWN_FIELDS = 12
_NO_ATTRIBUTE = re.compile(r"has no attribute '([^']*)'")
# Errors that expressions in a template can raise, such as a division by zero.
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
    """The prompt cannot be rendered for a record; the text is the reason in one line."""


class _RefusedInclude(SecurityError):
    """The project does not allow the inclusion of a template."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class _PromptEnvironment(LimitedEnvironment):
    """A sandbox in which the fields of a record take precedence over the methods of `dict`.

    If a record has a field `items`, `input.items` is this field and not the method `dict.items`.
    """

    def getattr(self, obj: object, attribute: str) -> object:
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class Prompt:
    """A compiled prompt.

    `include` reads an included template at the prompt's own version. It returns None if the
    template does not exist, and raises UserError if the project does not allow the inclusion. The
    constructor raises ProblemsFound if the prompt is invalid, or if an included template is missing
    or not allowed.
    """

    def __init__(
        self, path: str, text: str, *, include: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self.path = path
        _, shift, body = split_front_matter(text)
        if not shift and text.startswith("---\n"):
            hint = "add a line --- after the metadata, or remove the first line"
            raise ProblemsFound([Problem(Place(path), "the front matter is not closed", hint)])
        self._source = Template(path, body, shift)
        self._included: dict[str, str] = {}
        self._include = include
        self._environment = _PromptEnvironment(
            undefined=StrictUndefined,
            autoescape=False,  # the output is a prompt, not HTML
            loader=FunctionLoader(self._load_named),
        )
        try:
            references = find_references(self._environment, self._source, self._load)
            self.references: tuple[Reference, ...] = tuple(references)
            self._template = self._environment.from_string(body)
            # Each rendering copies the globals. Jinja's ChainMap is slow to copy.
            self._template.globals = dict(self._template.globals)
        except TemplateSyntaxError as error:
            shift = self._source.shift if error.name in (None, path) else 0
            place = Place(error.name or path, error.lineno + shift)
            message = _one_line(error.message or "invalid template")
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
        """Return a template for Jinja's loader, or None if the template does not exist.

        The template is (source, file name for tracebacks, function). Jinja calls the function to
        ask whether the source is up to date. The answer is always true.
        """
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
        """The sources of the included templates, by name."""
        return self._included

    @property
    def has_computed_includes(self) -> bool:
        """Whether the prompt computes the name of an included template when it is rendered."""
        return has_computed_includes(
            self._environment, (self._source.text, *self._included.values())
        )

    def check(
        self, *, context: Iterable[str], variables: Iterable[str], fields: Iterable[str] | None
    ) -> list[Problem]:
        """Return a problem for each variable in the prompt that is not defined.

        `context`, `variables` and `fields` are the defined names below `context`, `vars` and
        `input`. If `fields` is None, the fields of the record are not checked.
        """
        known = {
            "context": sorted(context),
            "vars": sorted(variables),
            "input": None if fields is None else list(fields),
        }
        problems = [
            problem for ref in self.references if (problem := _problem(ref, known)) is not None
        ]
        return list(dict.fromkeys(problems))  # report a name only once per line

    def render(
        self,
        *,
        input: JsonMapping,  # noqa: A002 - the name of the variable in prompts
        context: JsonMapping,
        variables: JsonMapping,
    ) -> str:
        """Return the text to send to the model.

        Raises RenderFailure. Its text contains the path of the prompt, the line and the reason.
        """
        self._environment.start()
        try:
            return self._template.render(input=input, context=context, vars=variables)
        except UndefinedError as error:
            reason = _undefined_reason(str(error), input)
            raise RenderFailure(f"{self._where(error)}: {reason}") from error
        except TemplateLimit as error:
            raise RenderFailure(f"{self._where(error)}: {_one_line(str(error))}") from error
        except SecurityError as error:
            reason = f"not allowed in a prompt: {_one_line(str(error))}"
            raise RenderFailure(f"{self._where(error)}: {reason}") from error
        except _EXPRESSION_ERRORS as error:
            reason = _one_line(str(error) or type(error).__name__)
            raise RenderFailure(f"{self._where(error)}: {reason}") from error

    def _where(self, error: BaseException) -> str:
        """Return the position in a template at which `error` was raised, as `path:line`.

        The line number comes from the traceback. Jinja rewrites the traceback, so that it contains
        the line numbers of the template instead of those of the compiled code.
        """
        place = Place(self.path, 1 + self._source.shift)
        trace = error.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name == "<template>":
                place = Place(self.path, trace.tb_lineno + self._source.shift)
            elif name in self._included:
                place = Place(name, trace.tb_lineno)
            trace = trace.tb_next
        return f"{place.path}:{place.line}"


def _problem(reference: Reference, known: Mapping[str, Sequence[str] | None]) -> Problem | None:
    """Return the problem if a reference is not defined, else None."""
    root, name, place = reference.root, reference.name, reference.place
    if root not in known:
        hint = did_you_mean(root, ROOTS) or "the variables of a prompt are input, context and vars"
        return Problem(place, f"unknown variable '{root}'", hint)
    names = known[root]
    if name is None or names is None or name in names:
        return None
    near = nearest(name, names)
    suggestion = f"did you mean '{root}.{near}'?" if near else None
    unknown = f"unknown variable '{reference.whole}'"
    if root == "input":
        fields = f"the records have: {', '.join(names[:SHOWN_FIELDS]) or 'no fields'}"
        message = f"{unknown}: the records have no field '{name}'"
        return Problem(place, message, suggestion or fields)
    if root == "context":
        options = "list it in transform.context"
        if names:
            options = f"the context of the pipeline has: {', '.join(names)}"
        message = f"{unknown}: the pipeline has no context '{name}'"
        return Problem(place, message, suggestion or options)
    return Problem(place, f"{unknown}: not defined", suggestion or f"add --vars {name}=VALUE")


def _undefined_reason(message: str, record: JsonMapping) -> str:
    """Return the reason why a variable is undefined, in one line.

    Jinja's message `'dict object' has no attribute 'x'` becomes `the record has no field 'x'`.
    """
    match = _NO_ATTRIBUTE.search(message)
    if not match:
        return _one_line(message)
    near = nearest(match[1], list(record))
    suggestion = f"; it has '{near}'" if near else ""
    return f"the record has no field '{match[1]}'{suggestion}"


def _one_line(message: str) -> str:
    return " ".join(message.split()).rstrip(".")
