"""Generated messages with labels, for tests that need no real data."""

import random

from loomgit.domain.training import LabelledExample

SPAM = [
    "free",
    "prize",
    "claim",
    "winner",
    "urgent",
    "call",
    "cash",
    "text",
    "reply",
    "offer",
    "mobile",
    "award",
    "guaranteed",
]
HAM = [
    "home",
    "dinner",
    "later",
    "sorry",
    "love",
    "meeting",
    "tomorrow",
    "sleep",
    "lunch",
    "work",
    "class",
    "movie",
    "bus",
]
BOTH = [
    "you",
    "the",
    "to",
    "is",
    "and",
    "in",
    "me",
    "it",
    "my",
    "for",
    "now",
    "your",
    "are",
    "not",
    "have",
    "will",
    "can",
    "at",
    "so",
]


def message(rng, words):
    """Return a message of 6 to 20 words. About a third of its words come from `words`."""
    chosen = [rng.choice(words if rng.random() < 0.35 else BOTH) for _ in range(rng.randint(6, 20))]
    return " ".join(chosen)


def messages(count, *, spam_rate=0.25, seed=1):
    """Examples with the field `text` and the labels `spam` and `ham`."""
    rng = random.Random(seed)
    examples = []
    for number in range(count):
        if rng.random() < spam_rate:
            text = f"{message(rng, SPAM).capitalize()}! Call 0{rng.randint(10**9, 10**10)}"
            examples.append(LabelledExample({"text": text}, "spam", f"data.csv:{number + 2}"))
        else:
            text = message(rng, HAM)
            examples.append(LabelledExample({"text": text}, "ham", f"data.csv:{number + 2}"))
    return examples
