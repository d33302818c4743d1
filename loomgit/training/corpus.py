"""Divides examples into a training part and a held-out part, independent of their order.

The side of an example follows from a hash of its texts, so it never changes when examples are
added. Texts that differ only in case, digits, punctuation or white space are on the same side.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.values import Json
from loomgit.errors import UserError
from loomgit.training.example_checks import check_fields, parse_label
from loomgit.training.text_classifier import MAX_CHARACTERS, number_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.training import LabelledExample

MAX_LABELS = 200
# The limits of each side bound memory and time. The other examples are counted and not used.
MAX_EXAMPLES = 50_000
MAX_SIDE_CHARACTERS = 4_000_000
MIN_PER_LABEL = 100  # a label keeps this number of examples, whatever the limits
HELD_OUT = 2**64 // 3  # of the 2**64 values of the hash

FieldKind = Literal["text", "number"]


class HashedExample(Struct, frozen=True):
    """An example with the hash of its texts, which decides its side and its order.

    `values` are the values of the fields, and `label` is the key of the label.
    """

    digest: bytes
    order: bytes
    label: str
    values: tuple[Json, ...]
    characters: int


class Corpus(Struct, frozen=True):
    """The examples in use, sorted by hash, and the kinds of the fields.

    `labels` are sorted. `examples` is the number of all examples, also those beyond the limits.
    `training_labels` and `held_out_labels` are positions in `labels`.
    """

    kinds: dict[str, FieldKind]
    labels: tuple[Json, ...]
    examples: int
    training: tuple[HashedExample, ...]
    held_out: tuple[HashedExample, ...]
    training_labels: tuple[int, ...]
    held_out_labels: tuple[int, ...]

    def inputs(self, examples: Iterable[HashedExample]) -> list[dict[str, Json]]:
        """Return the inputs of the examples, with the fields that the program reads."""
        return [dict(zip(self.kinds, each.values, strict=True)) for each in examples]


class _Side:
    """The examples of one side within the limits: those with the lowest hashes.

    The result does not depend on the order in which examples are added, because an example beyond
    a limit stays beyond it when others are added.
    """

    def __init__(self) -> None:
        self._kept: list[HashedExample] = []
        self._characters = 0
        self._limit: tuple[bytes, bytes] | None = None  # the first example beyond the limits

    def add(self, example: HashedExample) -> None:
        self._kept.append(example)
        self._characters += example.characters
        if len(self._kept) > 2 * MAX_EXAMPLES or self._characters > 2 * MAX_SIDE_CHARACTERS:
            self._kept = self.examples()
            self._characters = sum(each.characters for each in self._kept)

    def examples(self) -> list[HashedExample]:
        """Return the examples within the limits, sorted by hash."""
        self._kept.sort(key=_position)
        sums = accumulate(each.characters for each in self._kept)
        for number, (each, characters) in enumerate(zip(self._kept, sums, strict=True)):
            beyond = number == MAX_EXAMPLES or characters > MAX_SIDE_CHARACTERS
            if beyond and (self._limit is None or _position(each) < self._limit):
                self._limit = _position(each)
                break
        labels: Counter[str] = Counter()
        kept = []
        for each in self._kept:
            labels[each.label] += 1
            within = self._limit is None or _position(each) < self._limit
            if within or labels[each.label] <= MIN_PER_LABEL:
                kept.append(each)
        return kept


def divide(examples: Iterable[LabelledExample], fields: Sequence[str]) -> Corpus:
    """Read all examples and return the corpus. A third of the distinct texts is held out.

    Raises UserError if a field or a label is not usable, or if there are too few examples.
    """
    sides = {True: _Side(), False: _Side()}
    counts: Counter[str] = Counter()
    labels: dict[str, Json] = {}
    kinds: dict[str, set[str]] = {name: set() for name in fields}
    names: set[str] = set()
    for example in examples:
        check_fields(example, fields)
        label = parse_label(example.label, example.place)
        key = label_key(label)
        labels[key] = label
        counts[key] += 1
        if len(labels) > MAX_LABELS:
            raise UserError(
                f"the examples have more than {MAX_LABELS} labels",
                hint="check whether --label names the right field",
            )
        values = tuple(example.input.get(name) for name in fields)
        for name, value in zip(fields, values, strict=True):
            kinds[name].add(_kind_of(value))
        names.update(example.input)
        hashed = _hashed(values, key)
        sides[int.from_bytes(hashed.digest[:8]) < HELD_OUT].add(hashed)
    usable = _usable_fields(kinds, names)
    _check_labels(counts)
    places = [number for number, name in enumerate(fields) if name in usable]
    return _corpus(sides[False].examples(), sides[True].examples(), usable, labels, counts, places)


def _corpus(
    training: list[HashedExample],
    held_out: list[HashedExample],
    kinds: dict[str, FieldKind],
    labels: dict[str, Json],
    counts: Counter[str],
    places: list[int],
) -> Corpus:
    """Return the corpus. A label without an example in training gets its first held-out one."""
    for label in sorted(labels):
        if not any(each.label == label for each in training):
            digest = next(each.digest for each in held_out if each.label == label)
            group = [each for each in held_out if each.digest == digest]
            held_out = [each for each in held_out if each.digest != digest]
            training = sorted([*training, *group], key=_position)
    if not held_out:
        raise UserError(
            f"{counts.total()} examples are too few: none is left to test the program",
            hint="add examples with other texts",
        )
    numbers = {key: number for number, key in enumerate(sorted(labels))}

    def narrowed(examples: list[HashedExample]) -> tuple[HashedExample, ...]:
        return tuple(
            HashedExample(
                each.digest,
                each.order,
                each.label,
                tuple(each.values[place] for place in places),
                each.characters,
            )
            for each in examples
        )

    return Corpus(
        kinds,
        tuple(labels[key] for key in sorted(labels)),
        counts.total(),
        narrowed(training),
        narrowed(held_out),
        tuple(numbers[each.label] for each in training),
        tuple(numbers[each.label] for each in held_out),
    )


def _position(example: HashedExample) -> tuple[bytes, bytes]:
    return example.digest, example.order


def label_key(label: object) -> str:
    """Return a text that differs for different labels: 1, true and "1" are three labels."""
    return f"{type(label).__name__} {label!r}"


def _hashed(values: tuple[Json, ...], label: str) -> HashedExample:
    """Return the example with its hash. Values without any word count as they are."""
    texts = [_similar(value) for value in values if _kind_of(value) == "text"]
    plain = repr(values).encode("utf-8", "backslashreplace")
    group = "\n".join(texts).encode() if any(texts) else plain
    characters = sum(min(len(value), MAX_CHARACTERS) for value in values if isinstance(value, str))
    order = hashlib.sha256(plain + label.encode("utf-8", "backslashreplace")).digest()
    return HashedExample(hashlib.sha256(group).digest(), order, label, values, characters)


def _similar(value: Json) -> str:
    """Return the words of a text, with 0 for each number. Texts with equal results are similar."""
    words = re.sub(r"\d+", "0", re.sub(r"[\W_]+", " ", text_of(value).casefold()))
    return unicodedata.normalize("NFKC", words).strip()


def _kind_of(value: Json) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        return "empty"
    return "text" if isinstance(value, str) and number_of(value) is None else "number"


def _usable_fields(kinds: dict[str, set[str]], names: set[str]) -> dict[str, FieldKind]:
    """Return the kinds of the fields that have values. A field with any text is a text field."""
    if not names:
        raise UserError("there are no examples to train on")
    for name in kinds:
        if name not in names:
            raise UserError(
                f"no example has the field '{name}'",
                hint=suggest_or_list(name, sorted(names), "fields"),
            )
    usable: dict[str, FieldKind] = {
        name: "text" if "text" in found else "number"
        for name, found in kinds.items()
        if found - {"empty"}
    }
    if "text" not in usable.values():
        listed = ", ".join(f"'{name}'" for name in kinds)
        raise UserError(
            f"no field contains text: {listed}",
            hint="a text classifier needs at least one field with text",
        )
    return usable


def _check_labels(counts: Counter[str]) -> None:
    """Raise UserError if there are fewer than two labels, or a label with a single example."""
    if len(counts) < 2:
        only = next(iter(counts)).partition(" ")[2]
        raise UserError(
            f"all {counts.total()} examples have the label {only}: two labels are needed"
        )
    rare = [key.partition(" ")[2] for key in sorted(counts) if counts[key] == 1]
    if rare:
        more = f" and {len(rare) - 3} more" if len(rare) > 3 else ""
        raise UserError(
            f"only one example has the label {', '.join(rare[:3])}{more}",
            hint="add examples of the label, or remove this one",
        )
