"""The assertion language: text -> tree, or what is wrong with it and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from loomgit.config.assertion_names import SYNONYMS, function_hint
from loomgit.config.assertion_rules import faults_of
from loomgit.config.assertion_text import KEYWORDS, Layout, Misread, Word, split
from loomgit.config.scalars import LARGEST
from loomgit.domain.assertions import (
    FUNCTIONS,
    TALLIES,
    Choice,
    Comparison,
    Constant,
    Either,
    Every,
    Name,
    Negation,
    Share,
    Statistic,
    Truth,
)
from loomgit.domain.place import Place, Problem
from loomgit.domain.suites import Assertion
from loomgit.domain.words import did_you_mean
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.assertions import Condition, Function, Kind, Operator, Value

DEEPEST = 32  # brackets and nots inside each other
SIGNS = ("<", "<=", ">", ">=", "==", "!=")
WORDS = ("contains", "matches", "in")
CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def parse_assertion(
    text: str, place: Place, kind: Kind, layout: Layout | None = None, *, within: str = ""
) -> Assertion:
    """Read an assertion of a test of this kind.

    `place` is where its text begins in the file that `layout` knows (absent: it stands in one
    line); `within` is the key that messages name. Raises ProblemsFound with every fault.
    """
    layout = layout or Layout("\n" * (place.line - 1) + " " * (place.column - 1) + text)
    prefix = f"{within}: " if within else ""

    def where(offset: int) -> Place:
        return layout.place(place, text, offset)

    try:
        tree = _Parser(split(text), where).whole()
    except Misread as fault:
        problem = Problem(where(fault.offset), prefix + fault.message, fault.hint)
        raise ProblemsFound([problem]) from None
    faults = [
        Problem(fault.place, prefix + fault.message, fault.hint) for fault in faults_of(tree, kind)
    ]
    if faults:
        raise ProblemsFound(faults)
    return Assertion(text, place, tree)


class _Parser:
    """Recursive descent over the words; conditions and values share brackets and names."""

    def __init__(self, words: list[Word], where: Callable[[int], Place]) -> None:
        self._words = words
        self._where = where
        self._at = 0
        self._depth = 0

    def whole(self) -> Condition:
        """The one condition that the text is."""
        if self._next.kind == "end":
            raise Misread(0, "the assertion is empty", "write one, as evaluation_score > 0.9")
        condition = self._either()
        word = self._next
        if word.kind != "end":
            hint = self._meant(word)
            raise Misread(word.offset, f"expected 'and', 'or' or the end, found {word.shown}", hint)
        return condition

    @property
    def _next(self) -> Word:
        return self._words[self._at]

    def _is(self, *texts: str) -> bool:
        return self._next.kind in ("keyword", "sign") and self._next.text in texts

    def _take(self) -> Word:
        word = self._next
        self._at += 1
        return word

    def _expect(self, sign: str) -> None:
        if not self._is(sign):
            word = self._next
            raise Misread(word.offset, f"expected '{sign}', found {word.shown}", self._meant(word))
        self._at += 1

    def _meant(self, word: Word) -> str | None:
        if word.kind != "name":
            return None
        if word.text in SYNONYMS:
            return f"write {SYNONYMS[word.text]}"
        return did_you_mean(word.text, KEYWORDS)

    def _deeper(self, word: Word) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Misread(word.offset, f"nested deeper than {DEEPEST} levels")

    def _either(self) -> Condition:
        parts = [self._every()]
        while self._is("or"):
            self._take()
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _every(self) -> Condition:
        parts = [self._negation()]
        while self._is("and"):
            self._take()
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _negation(self) -> Condition:
        if not self._is("not"):
            return self._comparison()
        self._deeper(self._take())
        inner = self._negation()
        self._depth -= 1
        return Negation(inner)

    def _comparison(self) -> Condition:
        begin = self._next
        first = self._operand()
        links: list[tuple[Operator, Value]] = []
        while True:
            at = self._next
            operator = self._operator()
            if operator is None:
                break
            if links and not (operator in SIGNS and links[-1][0] in SIGNS):
                raise Misread(at.offset, f"'{operator}' cannot follow another comparison",
                              "join the two with 'and'")  # fmt: skip
            if not isinstance(first, _VALUES):
                raise Misread(begin.offset, "a condition cannot be compared", "join with 'and'")
            right_at = self._next
            right = self._operand()
            if not isinstance(right, _VALUES):
                raise Misread(right_at.offset, "a condition cannot be compared", "join with 'and'")
            links.append((operator, right))
        if links:
            return Comparison(cast("Value", first), tuple(links))
        if isinstance(first, Name):
            return Truth(first)
        if isinstance(first, _VALUES):
            word = self._next
            if word.kind == "name" and not isinstance(first, Constant | Choice):
                message = f"expected a comparison, found {word.shown}"
                raise Misread(word.offset, message, self._meant(word))
            raise Misread(begin.offset, "expected a comparison, found a value alone",
                          "compare it, as evaluation_score > 0.9")  # fmt: skip
        return first

    def _operator(self) -> Operator | None:
        if self._is(*SIGNS, *WORDS):
            return cast("Operator", self._take().text)
        following = self._words[self._at + 1] if self._is("not") else self._next
        if self._is("not") and following.kind == "keyword" and following.text in WORDS:
            self._at += 2
            return cast("Operator", f"not {following.text}")
        return None

    def _operand(self) -> Value | Condition:
        """A value, or a condition in brackets."""
        word = self._take()
        place = self._where(word.offset)
        match word.kind:
            case "number":
                return Constant(_number(word), place)
            case "text":
                return Constant(word.text, place)
            case "keyword" if word.text in CONSTANTS:
                return Constant(CONSTANTS[word.text], place)
            case "name":
                return self._call(word) if self._is("(") else self._name(word)
            case "sign" if word.text == "(":
                self._deeper(word)
                inner = self._either_or_value()
                self._expect(")")
                self._depth -= 1
                return inner
            case "sign" if word.text == "[":
                return Choice(self._items(), place)
        raise Misread(word.offset, f"expected a value, found {word.shown}")

    def _either_or_value(self) -> Value | Condition:
        """What stands in brackets: `(a)` is as good a value as `a`."""
        before = self._at
        first = self._words[before]
        if first.kind in ("number", "text", "name") and self._words[before + 1].text == ")":
            closing = self._words[before + 1]
            if closing.kind == "sign":
                return self._operand()
        return self._either()

    def _name(self, word: Word) -> Name:
        root, *path = word.text.split(".")
        return Name(root, tuple(path), self._where(word.offset))

    def _call(self, word: Word) -> Statistic | Share:
        place = self._where(word.offset)
        opening = self._take()
        self._deeper(opening)
        if word.text not in (*FUNCTIONS, *TALLIES):
            message = f"unknown function '{word.text[:40]}'"
            raise Misread(word.offset, message, function_hint(word.text))
        if self._is(")"):
            example = "rate(passed)" if word.text in TALLIES else f"{word.text}(evaluation_scores)"
            raise Misread(opening.offset, f"{word.text}() of nothing", f"write {example}")
        call: Statistic | Share
        if word.text in TALLIES:
            call = Share(word.text, self._either(), place)
        else:
            of = self._take()
            if of.kind != "name" or self._is("("):
                message = f"expected a name in {word.text}(), found {of.shown}"
                raise Misread(of.offset, message, f"write {word.text}(evaluation_scores)")
            call = Statistic(cast("Function", word.text), self._name(of), place)
            if self._is(*SIGNS, *WORDS, "and", "or"):
                raise Misread(self._next.offset, f"{word.text}() is of numbers, not of a condition",
                              "write rate(...) for how often it holds")  # fmt: skip
        self._expect(")")
        self._depth -= 1
        return call

    def _items(self) -> tuple[Constant, ...]:
        """The constants of a list, behind its opening bracket."""
        items: list[Constant] = []
        while not self._is("]"):
            if items:
                self._expect(",")
                if self._is("]"):
                    break
            at = self._next
            item = self._operand() if at.kind != "name" and not self._is("(", "[") else None
            if not isinstance(item, Constant):
                hint = f"quote a text: '{at.text}'" if at.kind == "name" else None
                raise Misread(at.offset, f"expected a text or a number, found {at.shown}", hint)
            items.append(item)
        self._expect("]")
        return tuple(items)


_VALUES = (Constant, Choice, Name, Statistic, Share)


def _number(word: Word) -> int | float:
    whole = word.text.lstrip("+-").isdigit()
    if whole and len(word.text) <= 20:
        number = int(word.text)
        if abs(number) < LARGEST:
            return number
    number_ = float(word.text)
    if abs(number_) >= LARGEST:
        raise Misread(word.offset, f"the number '{word.text[:40]}' is too large")
    return number_
