"""The goals on real messages. The data is not part of this repository."""

import csv
import time
from pathlib import Path

import pytest

from loomgit.domain.training import LabelledExample
from loomgit.training.train import train_text_classifier

MESSAGES = Path(__file__).parents[3] / "shared" / "data" / "sms_messages.csv"


@pytest.mark.skipif(not MESSAGES.exists(), reason=f"{MESSAGES} is not here")
def test_real_spam_is_recognized():
    with MESSAGES.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        examples = [LabelledExample({"text": row["text"]}, row["label"]) for row in rows]
    began = time.process_time()
    report = train_text_classifier(examples, fields=["text"]).report
    seconds = time.process_time() - began
    spam = next(each for each in report.labels if each.label == "spam")
    assert report.examples == report.training + report.held_out == 3999
    assert report.held_out > 1250
    assert report.accuracy >= 0.985
    assert spam.recall >= 0.92
    assert report.size <= 2_000_000
    assert seconds <= 10
