"""Evaluators that compute the text similarity of output and reference. They call no model.

The import of rapidfuzz takes 90 ms, and the import of sacrebleu takes 400 ms. Therefore, each
library is imported only when Loom builds an evaluator that needs the library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.domain.records import Score
from loomgit.evaluators.field_selector import FieldSelector, show, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import EvaluationInput
    from loomgit.domain.values import JsonMapping

_WORD = re.compile(r"\w+")


def similarity(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores how similar the characters of output and reference are.

    The score is `1 - indel distance / sum of both lengths`, which is `fuzz.ratio` of rapidfuzz
    divided by 100. The indel distance is the smallest number of characters that must be inserted or
    deleted to turn one text into the other.
    """
    from rapidfuzz import fuzz  # noqa: PLC0415 - see the module docstring

    return _measure(config, "similarity", lambda left, right: fuzz.ratio(left, right) / 100)


def rouge_l(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores ROUGE-L. It ignores case.

    ROUGE-L is the F1 score of the longest common subsequence of words. Source: Lin, "ROUGE: A
    Package for Automatic Evaluation of Summaries", 2004, section 3, with beta = 1.
    """
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415 - see the module docstring

    def similarity_of(output: str, reference: str) -> float:
        output_words, reference_words = _words(output), _words(reference)
        if not output_words or not reference_words:
            return float(output == reference)
        # This equals F1 = 2PR / (P + R) with the precision P = common words / output words and the
        # recall R = common words / reference words.
        return (
            2
            * LCSseq.similarity(output_words, reference_words)
            / (len(output_words) + len(reference_words))
        )

    return _measure(config, "ROUGE-L", similarity_of)


def bleu(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores sentence BLEU, divided by 100.

    An output of fewer than four tokens has no 4-grams, so its score uses only shorter n-grams.
    Tokenization and smoothing are the defaults of sacrebleu (Post, "A Call for Clarity in Reporting
    BLEU Scores", 2018).
    """
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - see the module docstring

    metric = BLEU(effective_order=True)

    def similarity_of(output: str, reference: str) -> float:
        if not output or not reference:
            return float(output == reference)
        return metric.sentence_score(output, [reference]).score / 100

    return _measure(config, "BLEU", similarity_of)


def lexical(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores how similar the words of the output and the reference are.

    It ignores case and punctuation. The texts are compared twice: with the words in their original
    order, and with the words sorted. The higher score counts. This is the evaluator `semantic` with
    `backend: lexical`, which needs no judge. The score does not consider the meaning of the words,
    so the reason of the score says "lexical similarity".
    """
    from rapidfuzz import fuzz  # noqa: PLC0415 - see the module docstring
    from rapidfuzz.utils import default_process  # noqa: PLC0415 - see the module docstring

    def similarity_of(output: str, reference: str) -> float:
        left, right = default_process(output), default_process(reference)
        if not left or not right:
            return float(output == reference)
        return max(fuzz.ratio(left, right), fuzz.token_sort_ratio(left, right)) / 100

    return _measure(config, "lexical similarity", similarity_of)


def _measure(
    config: JsonMapping, name: str, similarity_of: Callable[[str, str], float]
) -> Callable[[EvaluationInput], Score]:
    selector, ignore_case = FieldSelector.parse(config), bool(config.get("ignore_case"))

    def score(subject: EvaluationInput) -> Score:
        pair = selector.pair(subject)
        output, reference = text_of(pair.output), text_of(pair.reference)
        if ignore_case:
            output, reference = output.casefold(), reference.casefold()
        value = min(1.0, max(0.0, similarity_of(output, reference)))
        return Score(value, f"{name} {value:.2f}: {show(pair.output)} ~ {show(pair.reference)}")

    return score


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
