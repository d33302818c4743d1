"""A small real project in a real repository, for tests that drive the command."""

from pathlib import Path

from tests.repos import commit, make

PIPELINE = """\
name: demo
version: 1.0.0
extract:
  source: data/reviews.csv
  key: review_id
transform:
  prompt: prompts/classify.txt
  context: [context/taxonomy.md]
  output: {sentiment: string, confidence: float}
evaluate:
  evaluators:
    - name: label
      type: exact_match
      config: {field: sentiment, reference_field: expected}
  quality_gate: all_pass
load:
  destination: sqlite://out/demo.db/scores
"""

PROMPT = """\
## Taxonomy

{{ context.taxonomy }}

## Task

Review: {{ input.review }}

Classify the sentiment as one of: positive, negative

## Output Format

{"sentiment": "positive|negative", "confidence": 0.9}
"""

TAXONOMY = """\
### positive
Cue words: great, good, love
### negative
Cue words: bad, broken, hate
"""

REVIEWS = """\
review_id,review,expected
r-1,This is great,positive
r-2,It is broken and bad,negative
r-3,I love it,positive
r-4,I hate the reports,negative
"""

FILES = {
    "pipelines/demo.yaml": PIPELINE,
    "prompts/classify.txt": PROMPT,
    "context/taxonomy.md": TAXONOMY,
    "data/reviews.csv": REVIEWS,
    ".gitignore": "/out/\n",
}


def make_project(folder: Path, **files: str) -> Path:
    """A committed project on the embedded model; `files` come on top (`path=content`)."""
    make(folder)
    commit(folder, {**FILES, **files}, "Begin")
    return folder
