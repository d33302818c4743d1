"""Evaluators that measure how much of a reference an output shares, without a model.

rapidfuzz (90 ms) and sacrebleu (400 ms) load when the first of these is built.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.domain.records import Score
from loomgit.evaluators.aim import Aim, show, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import Subject
    from loomgit.domain.values import JsonMapping

_WORD = re.compile(r"\w+")


def similarity(config: JsonMapping) -> Callable[[Subject], Score]:
    """The share of characters in common: 1 - indel distance / both lengths (rapidfuzz `ratio`)."""
    from rapidfuzz import fuzz  # noqa: PLC0415 - see the module's first lines

    return _measure(config, "similarity", lambda left, right: fuzz.ratio(left, right) / 100)


def rouge_l(config: JsonMapping) -> Callable[[Subject], Score]:
    """ROUGE-L: F1 over the longest common subsequence of words, without regard to case.

    Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, section 3, with beta = 1.
    """
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415 - see the module's first lines

    def likeness(output: str, reference: str) -> float:
        words, wanted = _words(output), _words(reference)
        if not words or not wanted:
            return float(output == reference)
        # 2PR / (P + R) with P = common / words and R = common / wanted
        return 2 * LCSseq.similarity(words, wanted) / (len(words) + len(wanted))

    return _measure(config, "ROUGE-L", likeness)


def bleu(config: JsonMapping) -> Callable[[Subject], Score]:
    """BLEU of one sentence, over the n-grams that it is long enough to have.

    sacrebleu's default tokens and smoothing (Post, "A Call for Clarity in Reporting BLEU Scores",
    2018), divided by 100.
    """
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - see the module's first lines

    metric = BLEU(effective_order=True)

    def likeness(output: str, reference: str) -> float:
        if not output or not reference:
            return float(output == reference)
        return metric.sentence_score(output, [reference]).score / 100

    return _measure(config, "BLEU", likeness)


def lexical(config: JsonMapping) -> Callable[[Subject], Score]:
    """The likeness of the words, whatever their order, case and punctuation: what `semantic` falls
    back to where no judge is wanted. It knows nothing of meaning, and its reasons say so."""
    from rapidfuzz import fuzz  # noqa: PLC0415 - see the module's first lines
    from rapidfuzz.utils import default_process  # noqa: PLC0415 - see the module's first lines

    def likeness(output: str, reference: str) -> float:
        left, right = default_process(output), default_process(reference)
        if not left or not right:
            return float(output == reference)
        return max(fuzz.ratio(left, right), fuzz.token_sort_ratio(left, right)) / 100

    return _measure(config, "lexical similarity", likeness)


def _measure(
    config: JsonMapping, name: str, likeness: Callable[[str, str], float]
) -> Callable[[Subject], Score]:
    aim, ignore_case = Aim.parse(config), bool(config.get("ignore_case"))

    def score(subject: Subject) -> Score:
        pair = aim.pair(subject)
        output, reference = text_of(pair.output), text_of(pair.reference)
        if ignore_case:
            output, reference = output.casefold(), reference.casefold()
        value = min(1.0, max(0.0, likeness(output, reference)))
        return Score(value, f"{name} {value:.2f}: {show(pair.output)} ~ {show(pair.reference)}")

    return score


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
