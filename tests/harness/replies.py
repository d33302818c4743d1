"""Replies, cases and tests for the verdicts' tests."""

from loomgit.config.assertions import parse_assertion
from loomgit.config.suites import parse_suite
from loomgit.domain.place import Place
from loomgit.domain.samples import CaseSamples, Judgement, Sample

OUTPUT = {"sentiment": "positive", "confidence": 0.8, "reasoning": "they love it"}


def reply(index=0, score=0.9, output=OUTPUT, **more):
    judgements = {"quality": Judgement(score, "good", threshold=0.7)} if score is not None else {}
    known = {"judgements": judgements, "score": score, "passed": (score or 0) >= 0.7,
             "cost": 0.001, "latency": 1.0, "calls": 1, "text": "they love it"}  # fmt: skip
    return Sample(index=index, output=dict(output), model="m", **(known | more))


def unusable(index=0):
    return reply(index, 0.0, {}, text="sorry", passed=False, trouble="product",
                 failure="the reply is not JSON")  # fmt: skip


def lost(index=0, trouble="infrastructure"):
    return Sample(index, {}, "", "", trouble=trouble, failure="429 Too Many Requests")


def case(id_, *samples, question="q"):
    return CaseSamples(str(id_), f"key-{id_}", question, {"review": "I love it"}, samples)


def cases(scores, **more):
    """One reply a case, with these scores; None is a lost one."""
    return [
        case(i, lost() if score is None else reply(0, float(score), **more))
        for i, score in enumerate(scores)
    ]


def condition(text, kind="unit"):
    return parse_assertion(text, Place("tests/faq_test.yaml"), kind).tree


def _first(kind, keys):
    text = f"pipeline: faq\n{kind}:\n  - {{name: t, {keys}}}\n"
    return getattr(parse_suite(text, "tests/faq_test.yaml"), kind)[0]


def unit_test(keys=""):
    return _first("unit_tests", f"input: {{}}, {keys}")


def statistical(*assertions, keys=""):
    quoted = ", ".join('"' + text.replace('"', '\\"') + '"' for text in assertions)
    return _first("distributional_tests", f"type: statistical, assertions: [{quoted}], {keys}")


def distributional(keys):
    return _first("distributional_tests", keys)


def integration_test(*assertions):
    quoted = ", ".join(f'"{text}"' for text in assertions)
    return _first("integration_tests", f"assertions: [{quoted}]")
