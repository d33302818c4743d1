"""The model `embedded/icl`: a small classifier that learns from its prompt. It is not an LLM."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import orjson
from msgspec import Struct

from loomgit.domain.keys import canonical, digest
from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.domain.settings import EMBEDDED_MODEL
from loomgit.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.values import Json, JsonObject

    Word: TypeAlias = tuple[str, int, int, float, int]

SIMILARITY = 0.2  # weight of the similarity to the examples; a cue word has weight 1
NEITHER = 0.25  # initial score of the label `rest`; a cue word adds 1 to the score of its label
CERTAINTY = 2.0  # converts a score to log odds; chosen so that the confidence matches the accuracy
TOKEN = re.compile(r"[^\W\d_]{1,6}|\d{1,3}|[^\w\s]|_")
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # noqa: RUF001 - people type both apostrophes
NEGATOR = re.compile(r"no|not|never|none|nobody|nothing|nor|cannot|without|hardly|\w*n\Wt")
INTENSIFIERS = {"very", "really", "so", "extremely", "absolutely", "totally", "completely"}
SMALL = "a an and are as at be by for had has have i if in is it my of on or our that the to was we"
STOP_WORDS = frozenset(SMALL.split())
STEM = re.compile(r"(?<=\w{3})(?:e?ing|ed|edly|ment|ness|i?ly|i?er|i?est|ies|es|s|e|y)$")
SENTENCE = re.compile(r"[^\s.!?](?:[^.!?\n]|[.!?](?=\w))*[.!?]*")
INPUT = "(?i:review|text|message|input|question|query|document|article|comment|email|ticket|sms)"
ANSWER = "(?:label|answer|sentiment|category|class|classification|output|response|result)[ \t]*:"
MARKER = re.compile(
    rf"\n(?:[ \t*]*(?:\w+[ \t]){{0,2}}{INPUT}(?:[ \t]to[ \t]\w+)?[ \t*]*:[ \t*]*"
    rf"|\#+[ \t](?:\w+[ \t])?{INPUT}[ \t]*(?=\n))"
)
ANSWERED = re.compile(rf"(?i)[^\n]*\n\s*(?:{ANSWER}[ \t]*\S|\{{[^|{{}}]*\}})")
TASK = re.compile(r"\n#+[ \t]*(?i:(?:your[ \t])?(?:task|input)\b)")
END = re.compile(
    rf"\n[ \t]*(?i:\#{{1,6}}[ \t]|\{{|---|{ANSWER}|(?:documents?|context|sources?)[ \t]*:"
    r"|\n[ \t]*(?:classify|provide|respond|reply|answer|return|output|choose|assign|label|decide|"
    r"summari[sz]e|extract|rate|score|write|explain|your task)\b)"
)
ONE_OF = re.compile(r"(?im)^(.*)\bone of\b[^:\n]{0,40}:[ \t]*((?:\n[ \t]*[-*] .+)+|[^\n.;]+)")
TEMPLATE = re.compile(r'\{\s*"[^{}]*\}')
PAIR = re.compile(r'"(\w+)"\s*:\s*("[^"\n]*"|\[|[^\s,}]+)')
PART = re.compile(r"(?i)[#\s+*-]*(?:\w+ )?(cue|keyword|word|phrase|example)[\w /()-]{0,24}(?::|$)")
SECTION = re.compile(r"(?m)^(?:OUTPUT|REFERENCE|SOURCE|QUERY)\b[^:\n]*:|\n\n(?:Your task|Assess)")
SOURCE = re.compile(r"(?im)^[ \t#*-]*(?:\[([^\]\n]+)\]:?|source:[ \t]*(\S.*))")


def _words(text: str) -> list[Word]:
    """Return a tuple for each word: stem, start, end, weight, and the start of the negator.

    A negator is a word such as `not`. Its start is -1 if no negator applies to the word.
    """
    words: list[Word] = []
    weight, negated, reach, since = 1.0, -1, 0, 0
    for match in WORD.finditer(text):
        word = match[0].lower()
        if word in ".,;:!?()":
            negated, since = -1, len(words) if word in ".!?" else since
            continue
        if word in ("but", "however"):  # halves the weight of the words before it
            negated, since = -1, max(since - 12 * (since == len(words)), len(words) - 40, 0)
            words[since:] = [(s, a, b, w * 0.5, n) for s, a, b, w, n in words[since:]]
        words.append((STEM.sub("", word), *match.span(), weight, negated))
        weight, reach = 1.5 if word in INTENSIFIERS else 1.0, reach - 1
        if NEGATOR.fullmatch(word):
            negated, reach = (match.start() if negated < 0 else -1), 5
        elif not reach or word == "only":
            negated = -1
    return words


def _features(words: Sequence[Word]) -> Iterator[tuple[str, float]]:
    last = "a"
    for stem, _, _, weight, negated in words:
        if stem not in STOP_WORDS:
            mark = "!" if negated >= 0 else ""
            yield mark + stem, weight
            for place in range(len(stem) - 3):
                yield f"{mark}#{stem[place : place + 4]}", weight * 0.6 / (len(stem) - 3)
        if stem not in STOP_WORDS or last not in STOP_WORDS:
            yield f"{last} {stem}", weight * 0.7
        last = stem


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text.strip(" \t\"'“”`*_.,|+-")).lower()


def _statements(text: str, labels: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (label, type, statement) for each statement about a label.

    `label` is the index of the label. The type is "cue" (a cue word), "example" or "" (a
    definition).
    """
    names = {_plain(label): index for index, label in enumerate(labels)}
    label_names = "|".join(re.escape(name).replace(r"\ ", "[ _-]") for name in names)
    head = re.compile(
        rf"(?i)(#*)[\s\d.)+*•\"'-]*({label_names})[\"']?\s?(?:\(.*\))?\s?(?:[:—-]|$)(.*)"
    )
    verdict = re.compile(rf"(?i).*:\s*[\"']?({label_names})[\"']?\s*(?:[,}}.]|$)")
    label, part, level, example_input, gap = -1, "", 0, "", False
    # Remove `**` and backticks. Join a line that ends in a comma with the next line.
    for line in re.sub(r"\*\*|`|(?<=,)[ \t]*\n(?=[ \t]*\w)", "", text).split("\n"):
        row, _, name = re.sub("->|→|=>", "|", line).strip(" |").rpartition("|")
        target, kind, words = label, part, "" if row else line
        if row and _plain(name) in names:
            target, kind, words = names[_plain(name)], "example", row
        elif example_input and (match := verdict.match(line)):
            target, kind, words = names[_plain(match[1])], "example", example_input
        elif match := head.match(line.strip(" \t|").replace("|", ":", 1)):
            label, part, level = names[_plain(match[2])], "", len(match[1]) or 9
            target, kind, words = label, part, match[3]
        elif match := PART.match(line):
            part = kind = "example" if match[1].lower() == "example" else "cue"
            label = target = next((i for n, i in names.items() if n in _plain(match[0])), label)
            words = line[match.end() :]
        elif re.match(r"#" if level < 9 else r"#|\w" if gap else r"#|[-+•|]? ?\w+ ?[:|]", line):
            label, words = label if line.count("#", 0, 6) > level else -1, ""
        for piece in re.split("[,;]", words) if kind == "cue" else [words]:
            if target >= 0 and _plain(piece):
                yield target, kind, piece
        if marker := MARKER.match("\n" + line):
            example_input = line[marker.end() - 1 :]
        gap = not line.strip()


class _TaughtField:
    """The classifier for one output field, built once from a prompt and used for many inputs."""

    def __init__(self, labels: Sequence[str], *texts: str) -> None:
        self.labels, self.rest = labels, -1  # `rest`: the label for inputs that fit no other label
        self.cues: dict[str, int] = {}
        counts = [dict(_features(_words(_plain(label)))) for label in labels]
        statements = (list(_statements(text, labels)) for text in texts)
        for label, part, statement in next(filter(None, statements), []):
            words = _words(statement)
            if part == "cue":  # a cue word that two labels share supports neither of them
                phrase = " ".join(word[0] for word in words)
                self.cues[phrase] = label if self.cues.get(phrase, label) == label else -1
            elif not part and re.search(r"(?i)\b(neither|otherwise|default|none of)\b", statement):
                self.rest = label
            for feature, weight in _features(words):
                counts[label][feature] = counts[label].get(feature, 0.0) + weight
        others = [label for label in range(len(labels)) if label != self.rest]
        self.opposite = dict(zip(others, others[::-1], strict=True)) if len(others) == 2 else {}
        known = set().union(*counts)
        sizes = [sum(count.values()) + len(known) / 2 for count in counts]
        self.odds: dict[str, list[float]] = {}
        for f in known:
            logs = [math.log((c.get(f, 0) + 0.5) / n) for c, n in zip(counts, sizes, strict=True)]
            self.odds[f] = [SIMILARITY * (log - sum(logs) / len(logs)) for log in logs]

    def choose(self, text: str, temperature: float, seed: str) -> tuple[str, float, str]:
        """Return the label for `text`, its probability, and the words that support the label."""
        words, cues, unmatched, place = _words(text), [], [], 0
        while place < len(words):
            size = min(5, len(words) - place)  # a cue has at most five words
            stems = [word[0] for word in words[place : place + size]]
            while size and (label := self.cues.get(" ".join(stems[:size]), -1)) < 0:
                size -= 1
            if size:
                _, start, _, weight, negated = words[place]
                if negated >= 0:
                    start, label = negated, self.opposite.get(label, -1)
                phrase = text[start : words[place + size - 1][2]]
                cues.append((label, weight * (size + 1) / 2, phrase))
            unmatched += words[place : place + (not size)]  # words that belong to no cue
            place += size or 1
        scores = [math.fsum(w for of, w, _ in cues if of == i) for i in range(len(self.labels))]
        if self.rest >= 0:  # the second-highest score is 0 unless cues support several labels
            scores[self.rest] += NEITHER + sorted([0.0, 0.0, *scores])[-2]
        for feature, weight in _features(unmatched):
            for label, odds in enumerate(self.odds.get(feature, ())):
                scores[label] += weight * odds
        chances = [math.exp(CERTAINTY * (score - max(scores))) for score in scores]
        pick = chances.index(1.0)
        if temperature > 0:
            weights = [chance ** (1 / temperature) for chance in chances]
            pick = Random(seed).choices(range(len(chances)), weights)[0]  # noqa: S311 - no secret
        quoted = [f'"{phrase}"' for label, _, phrase in cues if label == pick][:3]
        reason = f"{self.labels[pick]}: {', '.join(quoted) or 'most similar to its examples'}"
        return self.labels[pick], chances[pick] / math.fsum(chances), reason


def _template(text: str) -> JsonObject:
    fields: JsonObject = {}
    for name, raw in PAIR.findall(text):
        options: list[Json] = [option.strip() for option in raw.strip('"').split("|")]
        kind = {'"': "string", "[": "array", "t": "boolean", "f": "boolean"}.get(raw[0], "number")
        fields[name] = {"enum": options} if len(options) > 1 else {"type": kind}
    return {"properties": fields}


def _fields(schema: Json) -> JsonObject:
    fields = schema.get("properties") if isinstance(schema, dict) else None
    return fields if isinstance(fields, dict) else {}


def _labels(schema: Json, *texts: str) -> dict[str, list[str]]:
    """Return the labels of each output field.

    The labels are the enums of the schema. If the schema has no enums, they come from a list after
    `one of:` in one of the `texts`.
    """
    parts = [(n, part) for n, part in _fields(schema).items() if isinstance(part, dict)]
    enums = [(name, part["enum"]) for name, part in parts if "enum" in part]
    by_field = {n: [str(label) for label in enum] for n, enum in enums if isinstance(enum, list)}
    names = [name for name, part in parts if part.get("type") == "string"] or [""]
    for line, listed in (match for text in texts for match in ONE_OF.findall(text)[::-1]):
        options = (option.split(": ")[0] for option in re.split(r"[,|/\n]|\bor\b", listed))
        if len(labels := [label for o in options if (label := o.strip(" \t-*\"'`"))]) > 1:
            return by_field or {next((name for name in names if name in line), names[0]): labels}
    return by_field


def _overlap(first: str, second: str) -> float:
    """Return the overlap coefficient (Szymkiewicz-Simpson) of the words of two texts."""
    a, b = ({word[0] for word in _words(text)}.difference(STOP_WORDS) for text in (first, second))
    return len(a & b) / (min(len(a), len(b)) or 1)


def _split(messages: Sequence[Message]) -> tuple[str, str, str]:
    """Return the text before the input, the input, and the text after the input.

    The input starts after the first marker, such as `Input:`. Markers of solved examples, in which
    an answer follows the input, are skipped. Markers in the task section have priority. If a prompt
    has no marker, the last message is the input.
    """
    texts = ["\n" + message.content for message in messages]
    for place in reversed(range(len(texts))):
        text, task = texts[place], TASK.search(texts[place])
        markers = list(MARKER.finditer(text)) if messages[place].role == "user" else []
        chosen = [m for m in markers if not ANSWERED.match(text, m.end())] or markers[-1:]
        chosen = [m for m in chosen if task and m.start() > task.start()] or chosen
        if chosen:
            start = chosen[0].end()
            end = match.start() if (match := END.search(text, start)) else len(text)
            before, after = [*texts[:place], text[:start]], [text[end:], *texts[place + 1 :]]
            return "\n".join(before), text[start:end].strip(), "\n".join(after)
    return "\n".join(texts[:-1]), texts[-1], ""


@lru_cache(maxsize=64)  # parses the fixed part of a prompt once for all inputs
class _TaughtPrompt:
    """The classifiers and the form of the reply, as defined by the text around the input.

    Text before the input has priority. Text after the input is less reliable, because the input
    can contain text that looks like the end of the prompt.
    """

    def __init__(self, before: str, after: str, schema: bytes) -> None:
        forms = [_template(t) for part in (before, after) for t in TEMPLATE.findall(part)[::-1]]
        form = next(
            filter(_labels, forms), _template("".join(TEMPLATE.findall(before + after)[-1:]))
        )
        self.schema, self.around = orjson.loads(schema) or form, (before, after)
        listing = () if "score" in _fields(self.schema) else self.around
        labels = _labels(self.schema) or _labels(form) or _labels(self.schema, *listing)
        self.fields = {n: _TaughtField(options, before, after) for n, options in labels.items()}
        self.tokens = len(TOKEN.findall(before)) + len(TOKEN.findall(after))

    def answer(self, text: str, temperature: float, seed: str) -> str:
        """Return the reply to one input: JSON if the prompt defines fields, else plain text."""
        chosen = {n: field.choose(text, temperature, seed + n) for n, field in self.fields.items()}
        labels: JsonObject = {name: label for name, (label, _, _) in chosen.items()}
        confidence = min((chance for _, chance, _ in chosen.values()), default=1.0)
        reason = "; ".join(why for _, _, why in chosen.values()) or "taken from the input"
        extract, source = " ".join(SENTENCE.findall(text)[:2]), ""
        if not chosen and "score" in _fields(self.schema):
            sections = [*SECTION.split(text.join(self.around))[1:], "", ""]
            confidence, extract = _overlap(*sections[:2]), ""
            reason = (
                f"compared by words only: {confidence:.0%} of the words of the shorter text "
                "are in the other text"
            )
        elif not chosen and len(cut := SOURCE.split("\n".join(self.around))) > 3:
            parts = zip(cut[1::3], cut[2::3], cut[3::3], strict=True)
            passages = [(a or b, sentence) for a, b, c in parts for sentence in SENTENCE.findall(c)]
            source, extract = max(passages, key=lambda p: _overlap(text, p[1]), default=("", ""))
            reason = f"the sentence of {source} that shares most words with the question"
        if not _fields(self.schema):
            return str(next(iter(labels.values()), extract))
        roles: JsonObject = {"confid|prob|score": round(confidence, 4), "reason|expla|why": reason}
        roles |= {"source|cit": source, "": extract}
        return orjson.dumps(_fill(self.schema, "", labels, roles)).decode()


def _fill(schema: Json, name: str, labels: JsonObject, roles: JsonObject) -> Json:
    if parts := _fields(schema):
        return {key: _fill(part, key, labels, roles) for key, part in parts.items()}
    value = next(value for role, value in roles.items() if re.search(role, name.lower()))
    kind = str(schema.get("type")) if isinstance(schema, dict) else ""
    number = value if isinstance(value, float) else 0.0
    by_kind: JsonObject = {"number": number, "integer": round(number), "boolean": number >= 0.5}
    return labels.get(name, [value] * bool(value) if kind == "array" else by_kind.get(kind, value))


class EmbeddedGateway(Struct, frozen=True):
    """Answers requests with the embedded model, which reads only the prompt.

    Equal requests get equal answers. `price` returns the cost of a call in USD, or None.
    """

    price: Callable[[Usage], float | None] = lambda _: 0.0
    clock: Callable[[], float] = time.perf_counter

    async def complete(self, request: Request) -> Completion:
        """Return the answer in the requested form. Raises Rejected if there are no messages."""
        started, temperature = self.clock(), request.temperature or 0.0
        if not request.messages:
            raise Rejected(f"{EMBEDDED_MODEL}: the request has no message")
        before, text, after = _split(request.messages)
        prompt = _TaughtPrompt(before, after, canonical(request.schema or {}))
        seed = (
            digest([request.seed, request.sample, before, text, after]) if temperature > 0 else ""
        )
        reply = prompt.answer(text, temperature, seed)
        usage = Usage(prompt.tokens + len(TOKEN.findall(text)), len(TOKEN.findall(reply)))
        return Completion(reply, EMBEDDED_MODEL, usage, self.price(usage), self.clock() - started)

    async def close(self) -> None:
        """Do nothing, because no resource is open."""
