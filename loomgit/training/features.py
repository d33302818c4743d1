"""Turns inputs into a matrix of term counts, and ranks the terms by their relation to the label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import chi2

from loomgit.training.text_classifier import TERMS, number_of, step_terms, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.values import Json
    from loomgit.training.corpus import FieldKind

MAX_STEPS = 16  # of a number field
# With fewer training examples, terms that occur in only one example are used, too.
RARE_TERMS_BELOW = 500

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = Any  # scipy.sparse.csr_matrix of floats, made by scikit-learn
BlockKind = Literal["words", "characters", "steps"]


class TermBlock(Struct, frozen=True):
    """The terms of one kind of one field, sorted. `steps` are the thresholds of a number field."""

    field: str
    kind: BlockKind
    terms: tuple[str, ...] = ()
    steps: tuple[float, ...] = ()


class TermCounts(Struct, frozen=True):
    """Counts of terms: a sparse matrix (examples, terms), and the blocks of its columns.

    The columns of a block are adjacent and in the order of its terms.
    """

    matrix: Matrix
    blocks: tuple[TermBlock, ...]

    def terms(self) -> list[tuple[int, str]]:
        """Return the term of each column, with the number of its block."""
        return [(at, term) for at, block in enumerate(self.blocks) for term in block.terms]

    def block_of_column(self) -> Integers:
        """Return the number of the block of each column."""
        return np.repeat(np.arange(len(self.blocks)), [len(block.terms) for block in self.blocks])

    def selected(self, columns: Integers) -> TermCounts:
        """Return the given columns, which are sorted. Blocks without columns are left out."""
        kept = set(columns.tolist())
        terms: list[list[str]] = [[] for _ in self.blocks]
        for column, (at, term) in enumerate(self.terms()):
            if column in kept:
                terms[at].append(term)
        blocks = tuple(
            TermBlock(block.field, block.kind, tuple(chosen), block.steps)
            for block, chosen in zip(self.blocks, terms, strict=True)
            if chosen
        )
        return TermCounts(self.matrix[:, columns], blocks)

    def positions_of(self, chosen: TermCounts) -> list[int]:
        """Return the columns of this matrix that have the terms of `chosen`, in the same order."""
        kept = {(block.field, block.kind): set(block.terms) for block in chosen.blocks}
        names = [(block.field, block.kind) for block in self.blocks]
        return [
            column
            for column, (at, term) in enumerate(self.terms())
            if term in kept.get(names[at], ())
        ]


def count_terms(inputs: Sequence[Mapping[str, Json]], kinds: Mapping[str, FieldKind]) -> TermCounts:
    """Count the terms of all fields. A term that occurs in one example only is left out."""
    empty: list[TermBlock] = []
    for field, kind in kinds.items():
        if kind == "number":
            empty.append(TermBlock(field, "steps", steps=choose_steps(inputs, field)))
        else:
            empty += [TermBlock(field, "words"), TermBlock(field, "characters")]

    def numbered_terms(each: Mapping[str, Json]) -> list[tuple[int, str]]:
        return [(at, term) for at, block in enumerate(empty) for term in block_terms(each, block)]

    # A term is a pair of the number of its block and its text, so that one matrix holds all blocks.
    # The vectorizer sorts the pairs.
    rarest = 1 if len(inputs) < RARE_TERMS_BELOW else 2
    vectorizer = CountVectorizer(analyzer=numbered_terms, min_df=rarest, dtype=np.float64)
    matrix = vectorizer.fit_transform(inputs)
    matrix.sort_indices()
    terms: list[list[str]] = [[] for _ in empty]
    for at, term in sorted(vectorizer.vocabulary_):
        terms[at].append(term)
    blocks = (
        TermBlock(block.field, block.kind, tuple(known), block.steps)
        for block, known in zip(empty, terms, strict=True)
    )
    return TermCounts(matrix, tuple(block for block in blocks if block.terms))


def block_terms(inputs: Mapping[str, Json], block: TermBlock) -> list[str]:
    """Return the terms of an input that belong to the block."""
    value = inputs.get(block.field)
    if block.kind == "steps":
        return step_terms(value, list(block.steps))
    return TERMS[block.kind](text_of(value))


def choose_steps(inputs: Sequence[Mapping[str, Json]], field: str) -> tuple[float, ...]:
    """Return thresholds that divide the values of a number field into parts of similar size."""
    found = (number_of(each.get(field)) for each in inputs)
    values = sorted(number for number in found if number is not None)
    steps = sorted(set(values))
    if len(steps) > MAX_STEPS:
        steps = [values[len(values) * part // MAX_STEPS] for part in range(MAX_STEPS)]
    # Rounded as in the name of a term, so that the names of two steps differ.
    return tuple(sorted({float(f"{step:g}") for step in steps}))


def inverse_frequencies(counts: TermCounts) -> Floats:
    """Return the smoothed inverse document frequency of each term, to four decimals.

    It is ln((1 + examples) / (1 + examples with the term)) + 1, as scikit-learn computes it.
    """
    examples, terms = counts.matrix.shape
    having = np.bincount(counts.matrix.indices, minlength=terms)
    idf: Floats = np.round(np.log((1 + examples) / (1 + having)) + 1, 4)
    return idf


def weigh(counts: TermCounts, idf: Floats) -> Matrix:
    """Return the values of the terms: (1 + ln count) * idf, where each block has the length 1.

    The steps of numbers have the value 1 / sqrt(terms of the block).
    """
    matrix = counts.matrix.copy()
    of_column = counts.block_of_column()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    groups = rows * len(counts.blocks) + of_column[matrix.indices]
    values = (1 + np.log(matrix.data)) * idf[matrix.indices]
    values /= np.sqrt(np.bincount(groups, weights=values * values))[groups]
    for at, block in enumerate(counts.blocks):
        if block.kind == "steps":
            values[of_column[matrix.indices] == at] = len(block.terms) ** -0.5
    matrix.data = values
    return matrix


def order_terms(counts: TermCounts, values: Matrix, labels: Integers) -> Integers:
    """Return the columns by the chi-squared statistic, highest first. Steps precede all others."""
    statistics = np.nan_to_num(chi2(values, labels)[0])
    steps = np.array([block.kind == "steps" for block in counts.blocks])
    statistics[steps[counts.block_of_column()]] = np.inf
    return np.argsort(-np.round(statistics, 6), kind="stable")
