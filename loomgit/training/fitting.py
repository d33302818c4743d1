"""Fits a logistic regression: chooses its settings by cross-validation, and calibrates it."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from loomgit.training.features import (
    Floats,
    Integers,
    Matrix,
    TermCounts,
    count_terms,
    inverse_frequencies,
    order_terms,
    weigh,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.training.corpus import Corpus

# Settings to try beside the default ones: (penalty, balance). Without a penalty, the best one so
# far is used.
ALTERNATIVES = ((1.0, 1.0), (100.0, 1.0), (None, 0.5), (None, 0.0))
# Other settings than the default ones must be better by this amount, because the quality on unseen
# folds is an estimate.
MARGIN = 0.005
TEMPERATURES = tuple(2 ** (step / 4) for step in range(-12, 17))
FOLDS = 3
MISSING_LABEL = -30.0  # the score of a label that no training example of a fold has
# The work of one iteration of a fit is the number of non-zero values times the number of labels.
MAX_FOLD_WORK = 2_000_000
MAX_FIT_WORK = 1_000_000_000  # of all iterations; a fit has at least 50
MAX_SIZE = 1_800_000  # of the terms and weights, in bytes
MIN_TERMS = 8_000
TERMS_PER_EXAMPLE = 4


class FitSettings(Struct, frozen=True):
    """The settings of a fit.

    `penalty` is scikit-learn's C, the inverse of the penalty. An example has the weight
    (1 / share of its label) ** balance. Scores are divided by `temperature`, so that on average,
    the probability of the chosen label is the rate of correct labels.
    """

    penalty: float = 10.0
    balance: float = 1.0
    temperature: float = 1.0


class LinearModel(Struct, frozen=True):
    """The chosen terms and their weights.

    `idf` is a float array (terms,), and `weights` an int16 array (rows, terms). There is one row
    per label, or one for the second of two labels. The scores of an input are
    values @ weights.T * scale + intercepts.
    """

    counts: TermCounts
    idf: Floats
    weights: NDArray[np.int16]
    scale: float
    intercepts: tuple[float, ...]
    settings: FitSettings


class _Fold(Struct, frozen=True):
    """The values of both sides of a fold. Terms and idf follow from the inside only."""

    inside: Matrix
    inside_labels: Integers
    outside: Matrix
    outside_labels: Integers


def fit_corpus(corpus: Corpus) -> LinearModel:
    """Fit a model on the training part of the corpus."""
    counts = count_terms(corpus.inputs(corpus.training), corpus.kinds)
    groups = [each.digest for each in corpus.training]
    return fit(counts, np.array(corpus.training_labels, dtype=np.int64), groups)


def fit(counts: TermCounts, labels: Integers, groups: Sequence[bytes]) -> LinearModel:
    """Fit a model on the counts; `labels` is an int array (examples,).

    Examples of the same group, such as duplicates, are in the same fold.
    """
    number_of_labels = int(labels.max()) + 1
    settings = cross_validate(counts, labels, groups, number_of_labels)
    chosen, idf, values = _prepare(counts, labels, number_of_labels)
    model = _regression(values, labels, settings)
    # Two bytes are enough for a weight. A power of two as the scale makes the products exact.
    weights = model.coef_ / settings.temperature
    largest = max(float(np.abs(weights).max()), 2.0**-10)
    scale = 2.0 ** float(np.ceil(np.log2(largest / 32767)))
    intercepts = tuple(round(float(each), 4) for each in model.intercept_ / settings.temperature)
    integers = np.round(weights / scale).astype("<i2")
    return LinearModel(chosen, idf, integers, scale, intercepts, settings)


def cross_validate(
    counts: TermCounts, labels: Integers, groups: Sequence[bytes], number_of_labels: int
) -> FitSettings:
    """Choose the settings by the mean of accuracy and macro F1 on unseen folds.

    Returns the default settings if there are too few examples for folds.
    """
    folds = _make_folds(counts, labels, groups, number_of_labels)
    if not folds:
        return FitSettings()
    truth = np.concatenate([fold.outside_labels for fold in folds])

    def unseen_scores(settings: FitSettings) -> Floats:
        return np.concatenate([_fold_scores(fold, settings, number_of_labels) for fold in folds])

    chosen, scores = FitSettings(), unseen_scores(FitSettings())
    quality = _quality(scores, truth)
    for penalty, balance in ALTERNATIVES:
        other = FitSettings(penalty or chosen.penalty, balance)
        other_scores = unseen_scores(other)
        other_quality = _quality(other_scores, truth)
        if other_quality >= quality + MARGIN:
            chosen, scores, quality = other, other_scores, other_quality
    losses = [_log_loss(scores / each, truth) for each in TEMPERATURES]
    temperature = TEMPERATURES[losses.index(min(losses))]
    return FitSettings(chosen.penalty, chosen.balance, temperature)


def choose_folds(labels: Sequence[int], groups: Sequence[bytes]) -> Integers:
    """Return the fold of each example: an int array. The folds of each label have similar sizes."""
    sizes: dict[int, int] = {}
    fold_of: dict[bytes, int] = {}
    for label, group in zip(labels, groups, strict=True):
        if group not in fold_of:
            fold_of[group] = sizes.get(label, 0) % FOLDS
            sizes[label] = sizes.get(label, 0) + 1
    return np.array([fold_of[group] for group in groups], dtype=np.int64)


def _make_folds(
    counts: TermCounts, labels: Integers, groups: Sequence[bytes], number_of_labels: int
) -> list[_Fold]:
    """Divide the first examples, as many as there is time for, into folds with both sides."""
    work = counts.matrix.indptr[1:].astype(np.int64) * (number_of_labels - 1)
    used = int((work <= MAX_FOLD_WORK).sum())
    fold_of = choose_folds(labels[:used].tolist(), groups[:used])
    folds = []
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold_of != number), np.flatnonzero(fold_of == number)
        if len(outside) and len(set(labels[inside].tolist())) > 1:
            train = TermCounts(counts.matrix[inside], counts.blocks)
            chosen, idf, values = _prepare(train, labels[inside], number_of_labels)
            columns = counts.positions_of(chosen)
            test = TermCounts(counts.matrix[outside][:, columns], chosen.blocks)
            folds.append(_Fold(values, labels[inside], weigh(test, idf), labels[outside]))
    return folds


def _prepare(
    counts: TermCounts, labels: Integers, number_of_labels: int
) -> tuple[TermCounts, Floats, Matrix]:
    """Choose terms; return their counts, their idf, and the matrix of their values."""
    most = max(MIN_TERMS, TERMS_PER_EXAMPLE * counts.matrix.shape[0])
    values = weigh(counts, inverse_frequencies(counts))
    order = order_terms(counts, values, labels)[:most]
    sizes = _term_sizes(counts, number_of_labels)[order]
    chosen = counts.selected(np.sort(order[np.cumsum(sizes) <= MAX_SIZE]))
    idf = inverse_frequencies(chosen)
    return chosen, idf, weigh(chosen, idf)


def _term_sizes(counts: TermCounts, number_of_labels: int) -> Integers:
    """Return the size of each term in the two data files, in bytes."""
    rows = 1 if number_of_labels == 2 else number_of_labels
    texts = [json.dumps(term, ensure_ascii=False) for _, term in counts.terms()]
    return np.array([len(text.encode()) for text in texts]) + len(",12.3456,") + 2 * rows


def _regression(values: Matrix, labels: Integers, settings: FitSettings) -> LogisticRegression:
    """Return a fitted logistic regression."""
    sizes = np.bincount(labels)
    weights = (sizes.max() / np.maximum(sizes, 1)) ** settings.balance
    weights *= len(labels) / weights[labels].sum()
    iterations = MAX_FIT_WORK // max(1, values.nnz * (len(set(labels.tolist())) - 1))
    regression = LogisticRegression(
        C=settings.penalty, tol=1e-4, max_iter=min(500, max(50, iterations))
    )
    with warnings.catch_warnings():
        # scikit-learn warns of fits without convergence, and of labels with few examples.
        warnings.simplefilter("ignore", UserWarning)
        return regression.fit(values, labels, sample_weight=weights[labels])


def _fold_scores(fold: _Fold, settings: FitSettings, number_of_labels: int) -> Floats:
    """Return the scores outside the fold: a float array (examples, labels)."""
    model = _regression(fold.inside, fold.inside_labels, settings)
    decision = model.decision_function(fold.outside)
    if decision.ndim == 1:
        decision = np.stack([np.zeros_like(decision), decision], axis=1)
    scores = np.full((len(decision), number_of_labels), MISSING_LABEL)
    scores[:, model.classes_] = decision
    return scores


def _quality(scores: Floats, truth: Integers) -> float:
    """Return the mean of accuracy and macro F1, to six decimals."""
    chosen = scores.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of labels with few examples
        f1 = f1_score(truth, chosen, average="macro", zero_division=0)
    return round((float(np.mean(chosen == truth)) + float(f1)) / 2, 6)


def _log_loss(scores: Floats, truth: Integers) -> float:
    """Return the mean negative logarithm of the probability of the right label."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    totals = np.log(np.exp(shifted).sum(axis=1))
    return round(float(np.mean(totals - shifted[np.arange(len(truth)), truth])), 6)
