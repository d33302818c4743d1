"""Parse an assertion to a syntax tree, or report its problems with their positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from loomgit.config.assertion_checks import find_problems
from loomgit.config.assertion_names import REPLACEMENTS, function_hint
from loomgit.config.assertion_tokens import (
    KEYWORDS,
    AssertionSyntaxError,
    SourceLayout,
    Token,
    tokenize,
)
from loomgit.config.scalars import INTEGER_LIMIT
from loomgit.domain.assertions import (
    COUNT_FUNCTIONS,
    FUNCTIONS,
    BooleanName,
    Choice,
    ComparisonChain,
    Conjunction,
    Constant,
    Disjunction,
    Name,
    Negation,
    ShareOfReplies,
    Statistic,
)
from loomgit.domain.place import Place, Problem
from loomgit.domain.suggestions import did_you_mean
from loomgit.domain.suites import Assertion
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.assertions import Condition, Function, Kind, Operator, Value

MAX_DEPTH = 32  # levels of nested brackets and `not`
COMPARISON_SIGNS = ("<", "<=", ">", ">=", "==", "!=")
COMPARISON_WORDS = ("contains", "matches", "in")
CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def parse_assertion(
    text: str, place: Place, kind: Kind, layout: SourceLayout | None = None, *, within: str = ""
) -> Assertion:
    """Parse an assertion for a test of type `kind`.

    `place` is the position of `text` in its file, and `layout` finds the positions of characters.
    If `layout` is None, the file is assumed to contain `text` unchanged. `within` is the dotted key
    of the assertion; if it is given, messages start with it. Raises ProblemsFound with all
    problems.
    """
    layout = layout or SourceLayout("\n" * (place.line - 1) + " " * (place.column - 1) + text)
    prefix = f"{within}: " if within else ""

    def place_of(offset: int) -> Place:
        return layout.place(place, text, offset)

    try:
        tree = _Parser(tokenize(text), place_of).parse()
    except AssertionSyntaxError as error:
        problem = Problem(place_of(error.offset), prefix + error.message, error.hint)
        raise ProblemsFound([problem]) from None
    problems = [
        Problem(fault.place, prefix + fault.message, fault.hint)
        for fault in find_problems(tree, kind)
    ]
    if problems:
        raise ProblemsFound(problems)
    return Assertion(text, place, tree)


class _Parser:
    """A recursive descent parser of assertions.

    A name or an expression in brackets can be a condition or a value. The parser decides this after
    it has read the next token.
    """

    def __init__(self, words: list[Token], place_of: Callable[[int], Place]) -> None:
        self._words = words
        self._place_of = place_of
        self._position = 0
        self._depth = 0

    def parse(self) -> Condition:
        """Parse all tokens as one condition. Raises AssertionSyntaxError if this fails."""
        if self._next.kind == "end":
            raise AssertionSyntaxError(0, "the assertion is empty",
                          "write a condition, for example evaluation_score > 0.9")  # fmt: skip
        condition = self._disjunction()
        word = self._next
        if word.kind != "end":
            hint = self._hint(word)
            raise AssertionSyntaxError(
                word.offset, f"expected 'and', 'or' or the end, found {word.shown}", hint
            )
        return condition

    @property
    def _next(self) -> Token:
        return self._words[self._position]

    def _next_is(self, *texts: str) -> bool:
        return self._next.kind in ("keyword", "sign") and self._next.text in texts

    def _advance(self) -> Token:
        word = self._next
        self._position += 1
        return word

    def _expect(self, sign: str) -> None:
        if not self._next_is(sign):
            word = self._next
            raise AssertionSyntaxError(
                word.offset, f"expected '{sign}', found {word.shown}", self._hint(word)
            )
        self._position += 1

    def _hint(self, word: Token) -> str | None:
        if word.kind != "name":
            return None
        if word.text in REPLACEMENTS:
            return f"write {REPLACEMENTS[word.text]}"
        return did_you_mean(word.text, KEYWORDS)

    def _enter_level(self, word: Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise AssertionSyntaxError(word.offset, f"nested deeper than {MAX_DEPTH} levels")

    def _disjunction(self) -> Condition:
        parts = [self._conjunction()]
        while self._next_is("or"):
            self._advance()
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Disjunction(tuple(parts))

    def _conjunction(self) -> Condition:
        parts = [self._negation()]
        while self._next_is("and"):
            self._advance()
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Conjunction(tuple(parts))

    def _negation(self) -> Condition:
        if not self._next_is("not"):
            return self._comparison()
        self._enter_level(self._advance())
        inner = self._negation()
        self._depth -= 1
        return Negation(inner)

    def _comparison(self) -> Condition:
        first_word = self._next
        first = self._operand()
        links: list[tuple[Operator, Value]] = []
        join = "join the conditions with 'and'"
        while True:
            operator_word = self._next
            operator = self._operator()
            if operator is None:
                break
            if links and not (operator in COMPARISON_SIGNS and links[-1][0] in COMPARISON_SIGNS):
                message = f"'{operator}' cannot follow another comparison"
                raise AssertionSyntaxError(
                    operator_word.offset, message, "join the comparisons with 'and'"
                )
            if not isinstance(first, _VALUE_TYPES):
                raise AssertionSyntaxError(
                    first_word.offset, "a condition cannot be compared", join
                )
            right_word = self._next
            right = self._operand()
            if not isinstance(right, _VALUE_TYPES):
                raise AssertionSyntaxError(
                    right_word.offset, "a condition cannot be compared", join
                )
            links.append((operator, right))
        if links:
            return ComparisonChain(cast("Value", first), tuple(links))
        if isinstance(first, Name):
            return BooleanName(first)
        if isinstance(first, _VALUE_TYPES):
            word = self._next
            if word.kind == "name" and not isinstance(first, Constant | Choice):
                message = f"expected a comparison, found {word.shown}"
                raise AssertionSyntaxError(word.offset, message, self._hint(word))
            raise AssertionSyntaxError(
                first_word.offset,
                "expected a comparison, found only a value",
                "compare it, for example evaluation_score > 0.9",
            )
        return first

    def _operator(self) -> Operator | None:
        if self._next_is(*COMPARISON_SIGNS, *COMPARISON_WORDS):
            return cast("Operator", self._advance().text)
        following = self._words[self._position + 1] if self._next_is("not") else self._next
        if (
            self._next_is("not")
            and following.kind == "keyword"
            and following.text in COMPARISON_WORDS
        ):
            self._position += 2
            return cast("Operator", f"not {following.text}")
        return None

    def _operand(self) -> Value | Condition:
        """Parse a value, or a condition in brackets."""
        word = self._advance()
        place = self._place_of(word.offset)
        match word.kind:
            case "number":
                return Constant(_number(word), place)
            case "text":
                return Constant(word.text, place)
            case "keyword" if word.text in CONSTANTS:
                return Constant(CONSTANTS[word.text], place)
            case "name":
                return self._call(word) if self._next_is("(") else self._name(word)
            case "sign" if word.text == "(":
                self._enter_level(word)
                inner = self._bracketed()
                self._expect(")")
                self._depth -= 1
                return inner
            case "sign" if word.text == "[":
                return Choice(self._list_items(), place)
        raise AssertionSyntaxError(word.offset, f"expected a value, found {word.shown}")

    def _bracketed(self) -> Value | Condition:
        """Parse the content of brackets.

        The content is a condition or a single value, because `(a)` has the same meaning as `a`.
        """
        if self._next.kind in ("number", "text", "name"):
            following = self._words[self._position + 1]
            if following.kind == "sign" and following.text == ")":
                return self._operand()
        return self._disjunction()

    def _name(self, word: Token) -> Name:
        root, *path = word.text.split(".")
        return Name(root, tuple(path), self._place_of(word.offset))

    def _call(self, word: Token) -> Statistic | ShareOfReplies:
        place = self._place_of(word.offset)
        opening = self._advance()
        self._enter_level(opening)
        if word.text not in (*FUNCTIONS, *COUNT_FUNCTIONS):
            message = f"unknown function '{word.text[:40]}'"
            raise AssertionSyntaxError(word.offset, message, function_hint(word.text))
        if self._next_is(")"):
            example = (
                "rate(passed)"
                if word.text in COUNT_FUNCTIONS
                else f"{word.text}(evaluation_scores)"
            )
            raise AssertionSyntaxError(
                opening.offset, f"{word.text}() has no argument", f"write {example}"
            )
        call: Statistic | ShareOfReplies
        if word.text in COUNT_FUNCTIONS:
            call = ShareOfReplies(word.text, self._disjunction(), place)
        else:
            argument = self._advance()
            if argument.kind != "name" or self._next_is("("):
                message = f"expected a name in {word.text}(), found {argument.shown}"
                raise AssertionSyntaxError(
                    argument.offset, message, f"write {word.text}(evaluation_scores)"
                )
            call = Statistic(cast("Function", word.text), self._name(argument), place)
            if self._next_is(*COMPARISON_SIGNS, *COMPARISON_WORDS, "and", "or"):
                raise AssertionSyntaxError(
                    self._next.offset,
                    f"{word.text}() takes a number, not a condition",
                    "write rate(CONDITION) for the share of replies that meet the condition",
                )
        self._expect(")")
        self._depth -= 1
        return call

    def _list_items(self) -> tuple[Constant, ...]:
        """Parse the constants of a list. The parser has already read the opening bracket."""
        items: list[Constant] = []
        while not self._next_is("]"):
            if items:
                self._expect(",")
                if self._next_is("]"):
                    break
            word = self._next
            item = self._operand() if word.kind != "name" and not self._next_is("(", "[") else None
            if not isinstance(item, Constant):
                hint = f"put text in quotes: '{word.text}'" if word.kind == "name" else None
                raise AssertionSyntaxError(
                    word.offset, f"expected text or a number, found {word.shown}", hint
                )
            items.append(item)
        self._expect("]")
        return tuple(items)


_VALUE_TYPES = (Constant, Choice, Name, Statistic, ShareOfReplies)


def _number(word: Token) -> int | float:
    is_integer = word.text.lstrip("+-").isdigit()
    if is_integer and len(word.text) <= 20:
        integer = int(word.text)
        if abs(integer) < INTEGER_LIMIT:
            return integer
    number = float(word.text)
    if abs(number) >= INTEGER_LIMIT:
        raise AssertionSyntaxError(word.offset, f"the number '{word.text[:40]}' is too large")
    return number
