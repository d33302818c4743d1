"""Unusual replies of models: what each is read as, by a schema with `label` and `confidence`.

`GOOD` are replies with an answer, `BAD` those without, each with a part of the reason.
"""

ANSWER = {"label": "a", "confidence": 0.9}
A = '{"label": "a", "confidence": 0.9}'
B = '{"label": "b", "confidence": 0.1}'
DRAFT = f"First I thought {B}, but no. Is it {{maybe}} {{x}}?"

# Thinking, in the marks of the public formats: what opens it, what closes it.
THINKING = {
    "DeepSeek": ("<think>\n", "\n</think>\n\n"),
    "capital letters": ("<THINK>", "</Think>"),
    "thinking": ("<thinking>", "</thinking>"),
    "EXAONE": ("<thought>\n", "\n</thought>\n"),
    "thoughts": ("<thoughts>", "</thoughts>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "a scratchpad": ("<scratchpad>", "</scratchpad>"),
    "reasoning content": ("<reasoning_content>", "</reasoning_content>"),
    "gpt-oss in small letters": ("analysiswe need to look. ", "assistantfinal"),
    "Reflection": ("<thinking>x</thinking><reflection>", "</reflection>"),
    "with an attribute": ('<think budget="100">', "</think>"),
    "Seed": ("<seed:think>", "</seed:think>"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "Kimi": ("◁think▷", "◁/think▷"),
    "Cohere": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "Open Thoughts": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "Sky": ("<|begin_of_thought|>", "<|end_of_thought|>\n<|begin_of_solution|>"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "gpt-oss": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss with a call": (
        "<|channel|>commentary to=functions.x <|constrain|>json<|message|>",
        "<|call|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "gpt-oss without its tokens": ("analysisWe need to look. ", "assistantfinal"),
    "a closing tag alone": ("", "</think>"),
    "a closing tag of Magistral alone": ("", "[/THINK]"),
    "a closing tag of Cohere alone": ("", "<|END_THINKING|>"),
    "with an announced answer": ("<think>", "</think>\n<answer>"),
    "with a final answer": ("<think>", "</think><final_answer>"),
    "two thoughts": ("<think>x</think>\n<think>", "</think>"),
    "a tag named in the thought": ("<think>I may write <think> here. ", "</think>"),
    "two closings": ("<think>a</think> more ", "</think>"),
}
CLOSING = {
    "Cohere": "<|END_RESPONSE|>",
    "Sky": "<|end_of_solution|>",
    "gpt-oss": "<|return|>",
    "with an announced answer": "</answer>",
    "with a final answer": "</final_answer>",
}

GOOD: dict[str, str] = {
    "plain": A,
    "spaces around": f" \n\t{A}\n ",
    "over several lines": '{\n  "label": "a",\n  "confidence": 0.9\n}',
    "a fence": f"```json\n{A}\n```",
    "a fence without a name": f"```\n{A}\n```",
    "a fence in capitals": f"```JSON\n{A}\n```",
    "a fence of tildes": f"~~~json\n{A}\n~~~",
    "a fence that is not closed": f"```json\n{A}",
    "a fence on one line": f"```json {A} ```",
    "a quoted block": f"> {A}",
    "prose before": f"Sure! Here it is: {A}",
    "prose after": f"{A}\n\nLet me know if you need more.",
    "prose with braces": f"Not {{this}} nor {{ that }} but {A}",
    "prose with brackets": f"As in [1] and [2]: {A}",
    "an empty pair of braces": f"{{}} would be empty: {A}",
    "code before": f"```python\nif x: {{print(1)}}\n```\n{A}",
    "LaTeX": f"$\\frac{{1}}{{2}}$ so {A}",
    "a prompt's own braces": f"{{{{ input.text }}}} gives {A}",
    "a list of one": f"[{A}]",
    "twice the same": f"{A}\n{A}",
    "the same in other spelling": f'{A} or {{"confidence":0.9,"label":"a"}}',
    "a fence and the same again": f"```json\n{A}\n```\nSo: {A}",
    "another object that does not fit": f'{{"note": "x"}} {A}',
    "another object after it that does not fit": f'{A} {{"note": "x"}}',
    "broken before": f'{{"label": "a",}} I mean {A}',
    "Python before": f"{{'label': 'b'}} I mean {A}",
    "braces in code after it": f"{A}\n(the form is {{label: text}})",
    "an announced answer": f"<answer>{A}</answer>",
    "JSON of boxed mathematics": f"\\boxed{{{A}}}",
    "a BOM": f"\ufeff{A}",
    "a key twice with one value": '{"label": "a", "label": "a", "confidence": 0.9}',
    "escapes": '{"label": "\\u0061", "confidence": 9e-1}',
    "an answer before its thinking": f"{A}<think>was that right? {B}</think>",
    "an answer before thinking that does not end": f"{A}<think>was that right? {B}",
    **{
        f"thinking: {name}": f"{opens}{DRAFT}{closes}{A}{CLOSING.get(name, '')}"
        for name, (opens, closes) in THINKING.items()
    },
    **{
        f"thinking and a fence: {name}": (
            f"{opens}{DRAFT}{closes}```json\n{A}\n```{CLOSING.get(name, '')}"
        )
        for name, (opens, closes) in THINKING.items()
    },
    **{
        f"thinking with a cut-off draft: {name}": (
            f'{opens}{{"label": "b", "conf{closes}{A}{CLOSING.get(name, "")}'
        )
        for name, (opens, closes) in THINKING.items()
    },
}  # fmt: skip

INNER = "inside"
BAD: dict[str, tuple[str, str]] = {
    "inside of a key without quotes": (f"{{final-answer: {A}}}", INNER),
    "inside of a key and no space": (f"{{draft:{A}}}", INNER),
    "inside of a number as a key": (f"{{1: {A}}}", INNER),
    "inside of an ellipsis": (f'{{..., "draft": {A}}}', INNER),
    "inside of a comment": (f'{{ // draft\n "draft": {A}}}', INNER),
    "inside of a comment of C": (f'{{/* c */ "draft": {A}}}', INNER),
    "inside of a brace that never ends": (f"{{{A}, ", INNER),
    "inside of a statement": (f"{{% set x = {A} %}}", INNER),
    "inside of a list": (f"[true, {A}]", INNER),
    "inside of a list of Python": (f"[True, {A}]", INNER),
    "inside of a list that never ends": (f'["draft", {A}, ', INNER),
    "inside of a list in a list": (f"[[{A}]]", INNER),
    "thinking of gpt-oss without its tokens that does not end": (
        f"analysisWe think it is {B} or {A}", "2 different objects",
    ),
    "nothing": ("", "empty"),
    "spaces": (" \n ", "empty"),
    "prose": ("I cannot help with that.", "no JSON object"),
    "a number": ("0.9", "no JSON object"),
    "a text": ('"a"', "no JSON object"),
    "null": ("null", "no JSON object"),
    "a list of texts": ('["a", "b"]', "no JSON object"),
    "an empty list": ("[]", "no JSON object"),
    "an empty object": ("{}", "required property"),
    "an empty object in a fence": ("```json\n{}\n```", "required property"),
    "a field is missing": ('{"label": "a"}', '"confidence" is a required property'),
    "a field of another type": ('{"label": "a", "confidence": "0.9"}', "confidence:"),
    "a field that is null": ('{"label": null, "confidence": 0.9}', "label:"),
    "wrapped": (f'{{"result": {A}}}', "required property"),
    "wrapped in a text": ('{"result": "{\\"label\\": \\"a\\"}"}', "required property"),
    "two drafts": (f"{B}\n{A}", "2 different objects that fit"),
    "two drafts in fences": (f"```json\n{B}\n```\n```json\n{A}\n```", "2 different objects"),
    "a list of two": (f"[{B}, {A}]", "2 different objects"),
    "lines of JSON": (f"{B}\n{A}\n{A}", "2 different objects"),
    "three": (f'{B} {A} {{"label": "c", "confidence": 1}}', "3 different objects"),
    "a truth and a number": (
        '{"label": "a", "confidence": 1} {"label": "a", "confidence": 1.0}', "2 different objects",
    ),
    "cut off in a text": ('{"label": "a", "confidence": 0.9, "why": "because', "never ends"),
    "cut off in a key": ('{"label": "a", "conf', "never ends"),
    "cut off after a colon": ('{"label": "a", "confidence":', "never ends"),
    "cut off behind an inner object": (f'{{"inner": {A}, "more": ', "never ends"),
    "cut off behind an inner list": (f'{{"all": [{A}', "never ends"),
    "cut off in a list": (f"[{A}, {B[:9]}", "never ends"),
    "cut off in a list after one": (f"[{A},", "never ends"),
    "cut off in a fence": ('```json\n{"label": "a", "confidence": 0.9', "never ends"),
    "cut off after an escape": ('{"label": "a\\', "never ends"),
    "an answer, and one that is cut off": (f'{A} No: {{"label": "b", "conf', "never ends"),
    "an answer, and a broken one": (
        f'{A} No: {{"label": "b", "confidence": }}',
        "a value is missing",
    ),
    "only thinking": (f"<think>{A}</think>", "is thinking, and no answer"),
    "thinking that does not end": (f"<think>{A}", "ends inside its thinking"),
    "thinking of gpt-oss alone": (f"<|channel|>analysis<|message|>{A}", "ends inside its thinking"),
    "thinking of Cohere that does not end": (f"<|START_THINKING|>{A}", "ends inside its thinking"),
    "thinking of Magistral that does not end": (f"[THINK]{A}", "ends inside its thinking"),
    "thinking, and prose": (f"<think>{A}</think>I am done.", "no JSON object"),
    "thinking, and a cut-off answer": (f'<think>{A}</think>{{"label": "a", "con', "never ends"),
    "thinking, and two answers": (f"<think>x</think>{B} {A}", "2 different objects"),
    "a closing tag, and nothing": (f"{A}</think>", "is thinking, and no answer"),
    "a raw line break": ('{"label": "a\nb", "confidence": 0.9}', "a raw line break in a string"),
    "a raw tab": ('{"label": "a\tb", "confidence": 0.9}', "a raw tab in a string"),
    "a raw carriage return": ('{"label": "a\rb", "confidence": 0.9}', "a raw line break"),
    "a raw control character": (
        '{"label": "a\x01b", "confidence": 0.9}',
        "a raw control character",
    ),
    "a comma at the end": ('{"label": "a", "confidence": 0.9,}', "a comma before }"),
    "a comma at the end of a line": ('{"label": "a",\n"confidence": 0.9,\n}', "a comma before }"),
    "a comma at the end of a list": (
        '{"label": "a", "confidence": 0.9, "x": [1,]}',
        "a comma before ]",
    ),
    "True": ('{"label": "a", "confidence": True}', "True is Python, JSON has true"),
    "False": ('{"label": "a", "confidence": False}', "False is Python, JSON has false"),
    "None": ('{"label": None, "confidence": 0.9}', "None is Python, JSON has null"),
    "single quotes": ("{'label': 'a', 'confidence': 0.9}", "single quotes"),
    "a value in single quotes": ("{\"label\": 'a', \"confidence\": 0.9}", "single quotes"),
    "typographic quotes": (
        "{\u201clabel\u201d: \u201ca\u201d, \u201cconfidence\u201d: 0.9}",
        "typographic quotes",
    ),
    "a typographic value": ('{"label": \u201ca\u201d, "confidence": 0.9}', "typographic quotes"),
    "keys without quotes": ('{label: "a", confidence: 0.9}', "a key without double quotes"),
    "a comment": ('{"label": "a", // sure\n"confidence": 0.9}', "a comment"),
    "a comment of C": ('{"label": "a", /* sure */ "confidence": 0.9}', "a comment"),
    "a comment of Python": ('{"label": "a", # sure\n"confidence": 0.9}', "a comment"),
    "a comma is missing": ('{"label": "a" "confidence": 0.9}', "a comma is missing before"),
    "a colon is missing": ('{"label" "a", "confidence": 0.9}', "a colon is missing before"),
    "a value is missing": ('{"label": , "confidence": 0.9}', "a value is missing before"),
    "an equals sign": ('{"label" = "a", "confidence": 0.9}', "a colon is missing before"),
    "an ellipsis": ('{"label": "a", ...}', "a key without double quotes"),
    "a percentage": ('{"label": "a", "confidence": 90%}', "a comma is missing before"),
    "a fraction": ('{"label": "a", "confidence": 9/10}', "a comma"),
    "a number that begins with a point": ('{"label": "a", "confidence": .9}', "a value is missing"),
    "a number that ends with a point": ('{"label": "a", "confidence": 1.}', "a comma is missing"),
    "a number that begins with zero": ('{"label": "a", "confidence": 00.9}', "a comma is missing"),
    "a plus": ('{"label": "a", "confidence": +1}', "a value is missing"),
    "a number in hexadecimal": ('{"label": "a", "confidence": 0x1}', "a comma is missing"),
    "a wrong escape": (
        '{"label": "C:\\data", "confidence": 0.9}',
        "a backslash that escapes nothing",
    ),
    "half an escape": ('{"label": "\\u12", "confidence": 0.9}', "a backslash that escapes nothing"),
    "an unquoted text": ('{"label": a, "confidence": 0.9}', "a value is missing before"),
    "NaN": ('{"label": "a", "confidence": NaN}', "NaN is not JSON"),
    "Infinity": ('{"label": "a", "confidence": Infinity}', "Infinity is not JSON"),
    "a negative infinity": ('{"label": "a", "confidence": -Infinity}', "-Infinity is not JSON"),
    "a number beyond all floats": ('{"label": "a", "confidence": 1e999}', "too large"),
    "an integer beyond 64 bits": (
        '{"label": "a", "confidence": 18446744073709551616}',
        "more than 64 bits",
    ),
    "a negative one": ('{"label": "a", "confidence": -9223372036854775809}', "more than 64 bits"),
    "an integer of a thousand digits": (
        f'{{"label": "a", "confidence": {"9" * 5000}}}',
        "more than 64 bits",
    ),
    "a key twice": (
        '{"label": "a", "label": "b", "confidence": 0.9}',
        "'label' occurs twice",
    ),
    "an inner key twice": (
        '{"label": "a", "confidence": 0.9, "x": {"y": 1, "y": 2}}',
        "'y' occurs twice",
    ),
    "half of a character": ('{"label": "\\ud83d", "confidence": 0.9}', "an unpaired surrogate"),
    "half of one in a list": (
        '{"label": "a", "confidence": 0.9, "x": ["\\udc00"]}',
        "an unpaired surrogate",
    ),
    "half of one in a key": (
        '{"label": "a", "confidence": 0.9, "\\ud83d": 1}',
        "an unpaired surrogate",
    ),
    "halves the wrong way round": (
        '{"label": "\\ude00\\ud83d", "confidence": 0.9}',
        "an unpaired surrogate",
    ),
    "nested 201 levels deep": (
        f'{{"label": "a", "confidence": 0.9, "x": {"[" * 200}{"]" * 200}}}',
        "nested more than 200",
    ),
    "nested 300 levels deep": (
        f'{{"label": "a", "confidence": 0.9, "x": {"[" * 300}{"]" * 300}}}',
        "nested more than 200",
    ),
    "nested 5,000 levels deep": (
        f'{{"label": "a", "confidence": 0.9, "x": {"[" * 5000}{"]" * 5000}}}',
        "nested more than 200",
    ),
    "objects 5,000 levels deep": ('{"a":' * 5000 + "1" + "}" * 5000, "nested more than 200"),
    "nesting that never ends": ('{"a":' * 5000, "never ends"),
    "XML": ("<label>a</label><confidence>0.9</confidence>", "no JSON object"),
    "YAML": ("label: a\nconfidence: 0.9", "no JSON object"),
    "a table": ("| label | confidence |\n|---|---|\n| a | 0.9 |", "no JSON object"),
    "JSON in a text": (f'"{A.replace(chr(34), chr(92) + chr(34))}"', "no JSON"),
    "a web page": ("<!DOCTYPE html><html><body>Error</body></html>", "no JSON object"),
}  # fmt: skip
