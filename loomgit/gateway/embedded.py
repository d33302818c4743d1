"""The model `embedded/icl`: a small classifier that learns from its prompt. It is not an LLM."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from functools import cached_property, lru_cache, reduce
from itertools import repeat
from operator import add, itemgetter
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import orjson
from msgspec import Struct

from loomgit.domain.keys import canonical, digest
from loomgit.domain.models import Completion, Request, Usage
from loomgit.domain.settings import EMBEDDED_MODEL
from loomgit.errors import Rejected
from loomgit.gateway.prompt_input import MARKER, split_prompt
from loomgit.gateway.word_features import (
    CACHED_WORDS,
    LONGEST_CACHED,
    PAIR_WEIGHT,
    STOP_WORDS,
    find_features,
    parse_words,
    weigh_features,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence, Set

    from loomgit.domain.values import Json, JsonObject

    Form: TypeAlias = "dict[str, Form] | _Leaf"

SIMILARITY = 0.2  # weight of the similarity to the examples; a cue word has weight 1
NEITHER = 0.25  # initial score of the label `rest`; a cue word adds 1 to the score of its label
CERTAINTY = 2.0  # converts a score to log odds; chosen so that the confidence matches the accuracy
TOKEN = re.compile(r"[^\W\d_]{1,6}|\d{1,3}|[^\w\s]|_")
SENTENCE = re.compile(r"[^\s.!?](?:[^.!?\n]|[.!?](?=\w))*[.!?]*")
ONE_OF = re.compile(r"(?im)^(.*)\bone of\b[^:\n]{0,40}:[ \t]*((?:\n[ \t]*[-*] .+)+|[^\n.;]+)")
TEMPLATE = re.compile(r'\{\s*"[^{}]*\}')
PAIR = re.compile(r'"(\w+)"\s*:\s*("[^"\n]*"|\[|[^\s,}]+)')
PART = re.compile(r"(?i)[#\s+*-]*(?:\w+ )?(cue|keyword|word|phrase|example)[\w /()-]{0,24}(?::|$)")
SECTION = re.compile(r"(?m)^(?:OUTPUT|REFERENCE|SOURCE|QUERY)\b[^:\n]*:|\n\n(?:Your task|Assess)")
SOURCE = re.compile(r"(?im)^[ \t#*-]*(?:\[([^\]\n]+)\]:?|source:[ \t]*(\S.*))")

# The roles of the values in a reply, as patterns for their names. The first match decides.
ROLES = ("confid|prob|score", "reason|expla|why", "source|cit", "")


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
        counts = [dict(find_features(parse_words(_plain(label)))) for label in labels]
        statements = (list(_statements(text, labels)) for text in texts)
        for label, part, statement in next(filter(None, statements), []):
            words = parse_words(statement)
            if part == "cue":  # a cue word that two labels share supports neither of them
                phrase = " ".join(word[0] for word in words)
                self.cues[phrase] = label if self.cues.get(phrase, label) == label else -1
            elif not part and re.search(r"(?i)\b(neither|otherwise|default|none of)\b", statement):
                self.rest = label
            for feature, weight in find_features(words):
                counts[label][feature] = counts[label].get(feature, 0.0) + weight
        self.longest: dict[str, int] = {}  # the number of words of the longest cue, by first stem
        for stems in (phrase.split(" ") for phrase in self.cues):
            self.longest[stems[0]] = max(len(stems), self.longest.get(stems[0], 0))
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
        words, cues, unmatched, place = parse_words(text), [], [], 0
        while place < len(words):
            if words[place][0] not in self.longest:  # no cue starts here
                unmatched.append(words[place])
                place += 1
                continue
            size = min(5, self.longest[words[place][0]])  # a cue has at most five words
            stems = [word[0] for word in words[place : place + size]]
            size = len(stems)
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
        rows: list[tuple[float, ...]] = []
        last = "a"
        for stem, _, _, weight, negated in unmatched:
            evidence = _evidence if len(stem) <= LONGEST_CACHED else _evidence.__wrapped__
            rows += evidence(self, stem, weight, negated >= 0)
            if (pair := f"{last} {stem}") in self.odds and not (
                stem in STOP_WORDS and last in STOP_WORDS
            ):
                rows.append(tuple(weight * PAIR_WEIGHT * odds for odds in self.odds[pair]))
            last = stem
        if rows:  # adds one by one: `sum` rounds differently from Python 3.12 on
            scores = list(map(reduce, repeat(add), zip(*rows, strict=True), scores))
        best = max(scores)
        chances = [math.exp(CERTAINTY * (score - best)) for score in scores]
        pick = chances.index(1.0)
        if temperature > 0:
            weights = [chance ** (1 / temperature) for chance in chances]
            pick = Random(seed).choices(range(len(chances)), weights)[0]  # noqa: S311 - no secret
        quoted = [f'"{phrase}"' for label, _, phrase in cues if label == pick][:3]
        reason = f"{self.labels[pick]}: {', '.join(quoted) or 'most similar to its examples'}"
        return self.labels[pick], chances[pick] / math.fsum(chances), reason


@lru_cache(maxsize=CACHED_WORDS)
def _evidence(
    field: _TaughtField, stem: str, weight: float, negated: bool
) -> tuple[tuple[float, ...], ...]:
    """Return the support of each label by one word, for each known feature of the word."""
    return tuple(
        tuple(share * odds for odds in field.odds[feature])
        for feature, share in weigh_features(stem, weight, negated)
        if feature in field.odds
    )


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


def _overlap(a: Set[str], b: Set[str]) -> float:
    """Return the overlap coefficient (Szymkiewicz-Simpson) of two sets of words."""
    return len(a & b) / (min(len(a), len(b)) or 1)


def _content_words(text: str) -> set[str]:
    """Return the stems of the words of a text, without the stop words."""
    return {word[0] for word in parse_words(text)}.difference(STOP_WORDS)


class _Leaf(Struct, frozen=True):
    """A value of the reply that is not an object: its name, its role (see `ROLES`), its type."""

    name: str
    role: str
    type: str


def _reply_form(schema: Json, name: str = "") -> Form:
    """Return the form of a reply with this schema: the leaves, in the objects that contain them."""
    if parts := _fields(schema):
        return {key: _reply_form(part, key) for key, part in parts.items()}
    role = next(role for role in ROLES if re.search(role, name.lower()))
    return _Leaf(name, role, str(schema.get("type")) if isinstance(schema, dict) else "")


def _roles(form: Form, labels: Container[str]) -> set[str]:
    """Return the roles of the leaves that have no label."""
    if isinstance(form, dict):
        return set().union(*(_roles(part, labels) for part in form.values()))
    return set() if form.name in labels else {form.role}


def _fill(form: Form, labels: JsonObject, roles: JsonObject) -> Json:
    """Return the reply: each leaf gets the label of its name, or else the value of its role."""
    if isinstance(form, dict):
        return {key: _fill(part, labels, roles) for key, part in form.items()}
    if form.name in labels:
        return labels[form.name]
    value = roles[form.role]
    if form.type == "array":
        return [value] * bool(value)
    number = value if isinstance(value, float) else 0.0
    by_type: JsonObject = {"number": number, "integer": round(number), "boolean": number >= 0.5}
    return by_type.get(form.type, value)


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
        self.form = _reply_form(self.schema) if _fields(self.schema) else None
        self.extracts = self.form is None or "" in _roles(self.form, labels)
        self.tokens = len(TOKEN.findall(before)) + len(TOKEN.findall(after))

    def answer(self, text: str, temperature: float, seed: str) -> str:
        """Return the reply to one input: JSON if the prompt defines fields, else plain text."""
        chosen = {n: field.choose(text, temperature, seed + n) for n, field in self.fields.items()}
        labels: JsonObject = {name: label for name, (label, _, _) in chosen.items()}
        confidence = min((chance for _, chance, _ in chosen.values()), default=1.0)
        reason = "; ".join(why for _, _, why in chosen.values()) or "taken from the input"
        extract, source = " ".join(SENTENCE.findall(text)[:2]) if self.extracts else "", ""
        if not chosen and "score" in _fields(self.schema):
            sections = [*SECTION.split(text.join(self.around))[1:], "", ""]
            confidence, extract = _overlap(*map(_content_words, sections[:2])), ""
            reason = (
                f"compared by words only: {confidence:.0%} of the words of the shorter text "
                "are in the other text"
            )
        elif not chosen and self.sources:
            words = _content_words(text)
            passages = ((_overlap(words, each), name, of) for name, of, each in self.passages)
            _, source, extract = max(passages, key=itemgetter(0), default=(0.0, "", ""))
            reason = f"the sentence of {source} that shares most words with the question"
        if self.form is None:
            return str(next(iter(labels.values()), extract))
        values = (round(confidence, 4), reason, source, extract)
        reply = _fill(self.form, labels, dict(zip(ROLES, values, strict=True)))
        return orjson.dumps(reply).decode()

    @cached_property
    def sources(self) -> list[str]:
        """The prompt, split at the headings of its sources; empty if it has no source."""
        parts = SOURCE.split("\n".join(self.around))
        return parts if len(parts) > 3 else []

    @cached_property
    def passages(self) -> list[tuple[str, str, set[str]]]:
        """The name of the source, the text and the words of each sentence of the sources."""
        parts = self.sources
        return [
            (title or line, sentence, _content_words(sentence))
            for title, line, content in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
            for sentence in SENTENCE.findall(content)
        ]


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
        before, text, after = split_prompt(request.messages)
        prompt = _TaughtPrompt(before, after, canonical(request.schema or {}))
        seed = (
            digest([request.seed, request.sample, before, text, after]) if temperature > 0 else ""
        )
        reply = prompt.answer(text, temperature, seed)
        usage = Usage(prompt.tokens + len(TOKEN.findall(text)), len(TOKEN.findall(reply)))
        return Completion(reply, EMBEDDED_MODEL, usage, self.price(usage), self.clock() - started)

    async def close(self) -> None:
        """Do nothing, because no resource is open."""
