"""Loop apps for tests: three specifications, their programs, and a host in this process."""

import pickle

from loomgit.workflows.apps import execute
from tests.fakes import FakeProgramHost
from tests.repos import commit, make

SPAM, SENTIMENT, CATEGORIES = (
    "spam-detector-001",
    "sentiment-analyzer-001",
    "email-categorizer-001",
)
SPECIFICATIONS = {
    SPAM: """\
# Loop App 1: Email Spam Detection
loop_app_id: spam-detector-001
name: "Email Spam Detector"
task: "Classify emails as spam or ham"
input_schema:
  type: object
  properties:
    text: {type: string}
    sender: {type: string}
output_schema:
  type: string
  enum: [spam, ham]
current_version: 3
endpoint: /loop-apps/spam-detector-001/execute
""",
    SENTIMENT: """\
# Loop App 2: Sentiment Analysis
loop_app_id: sentiment-analyzer-001
name: "Customer Sentiment Analyzer"
task: "Analyze customer feedback sentiment"
input_schema:
  type: object
  properties:
    feedback: {type: string}
output_schema:
  type: string
  enum: [positive, negative, neutral]
current_version: 2
endpoint: /loop-apps/sentiment-analyzer-001/execute
""",
    CATEGORIES: """\
# Loop App 3: Email Categorization
loop_app_id: email-categorizer-001
name: "Email Category Router"
task: "Categorize emails into folders"
input_schema:
  type: object
  properties:
    subject: {type: string}
    body: {type: string}
output_schema:
  type: string
  enum: [inbox, urgent, newsletters, promotions]
current_version: 1
endpoint: /loop-apps/email-categorizer-001/execute
""",
}
V1 = """\
def execute(input_data):
    return "spam" if "win" in input_data["text"].lower() else "ham"
"""
V2 = """\
WORDS = ("win", "prize", "free")

def execute(input_data):
    text = input_data["text"].lower()
    hits = sum(word in text for word in WORDS)
    result = "spam" if hits else "ham"
    return {"result": result, "confidence": 0.9, "reason": f"{hits} words"}
"""
V3 = V2.replace('"free")', '"free", "offer")')
POLITE = """\
def execute(input_data):
    text = input_data["feedback"].lower()
    return "positive" if "good" in text else "negative" if "bad" in text else "neutral"
"""
ROUTER = """\
def execute(input_data):
    return "urgent" if "now" in input_data["subject"].lower() else "inbox"
"""
EXAMPLES = """\
text,label
You win a prize,spam
Lunch at noon?,ham
Free money,spam
Minutes of the meeting,ham
"""
DEPENDENCIES = """\
# /loop-apps/spam-detector-email/artifacts/v1/dependencies.yaml

shared_artifacts:
  - type: model
    name: spam-classifier-base
    version: v2
    path: /shared/artifacts/models/spam-classifier-base-v2/
    hash: sha256:abc123def456...
    update_policy: pinned           # Never auto-update (stability)

  - type: vectorizer
    name: tfidf-english
    version: v1
    path: /shared/artifacts/vectorizers/tfidf-english-v1.pkl
    hash: sha256:789ghi012jkl...
    update_policy: pinned

local_artifacts:
  - type: custom-rules
    path: ./email-patterns.json
    description: Email-specific spam patterns
"""
SHARED_PROGRAM = '''\
# /loop-apps/spam-detector-email/artifacts/v1/program.py

from pathlib import Path
import pickle
import json

# Load shared artifacts (referenced, not copied)
SHARED_ROOT = Path("/loopai-data/shared/artifacts")
base_model = pickle.load(
    open(SHARED_ROOT / "models/spam-classifier-base-v2/model.pkl", "rb")
)
vectorizer = pickle.load(
    open(SHARED_ROOT / "vectorizers/tfidf-english-v1.pkl", "rb")
)

# Load local customization
LOCAL_ROOT = Path(__file__).parent
custom_rules = json.load(open(LOCAL_ROOT / "email-patterns.json"))

def execute(input_data):
    """
    Combines shared foundation model with local customization
    """
    # Use shared vectorizer
    features = vectorizer.transform([input_data["text"]])

    # Use shared base model
    base_prediction = base_model.predict_proba(features)[0]

    # Apply local email-specific rules
    if any(pattern in input_data["text"] for pattern in custom_rules["spam_keywords"]):
        return {"result": "spam", "confidence": 0.95, "reason": "custom_rule"}

    # Return base model prediction
    return {
        "result": "spam" if base_prediction[1] > 0.5 else "ham",
        "confidence": float(max(base_prediction)),
        "reason": "base_model"
    }
'''


class WordCounter:
    """A vectorizer that counts the word `win`."""

    def transform(self, texts):
        return [text.count("win") for text in texts]


class CountModel:
    """A model that takes texts with a count above 0 for spam."""

    def predict_proba(self, features):
        return [(0.1, 0.9) if count else (0.8, 0.2) for count in features]


def shared_files():
    """The shared artifacts of the program, by their paths in a project."""
    root = ".loom/shared/artifacts"
    return {
        f"{root}/models/spam-classifier-base-v2/model.pkl": pickle.dumps(CountModel()),
        f"{root}/models/spam-classifier-base-v2/config.json": "{}",
        f"{root}/vectorizers/tfidf-english-v1.pkl": pickle.dumps(WordCounter()),
        ".loom/shared/datasets/common-spam-examples/examples.jsonl": '{"text": "win"}\n',
        "artifact/program.py": SHARED_PROGRAM,
        "artifact/dependencies.yaml": DEPENDENCIES,
        "artifact/email-patterns.json": '{"spam_keywords": ["lottery"]}',
    }


def run_in_process(patch):
    """Run programs in this process. Returns the hosts that are opened, with their options."""
    hosts = []

    def open_host(files, **options):
        hosts.append((FakeProgramHost(files), options))
        return hosts[-1][0]

    patch.setattr(execute, "open_program_host", open_host)
    return hosts


def make_repository(folder, **files):
    """A repository with the specifications, the programs and the examples, without apps."""
    make(folder)
    sources = {"v1.py": V1, "v2.py": V2, "v3.py": V3, "polite.py": POLITE, "router.py": ROUTER}
    commit(
        folder,
        {
            ".loom/config.yaml": "",
            "examples.csv": EXAMPLES,
            **{f"specs/{app}.yaml": text for app, text in SPECIFICATIONS.items()},
            **{f"programs/{name}": text for name, text in sources.items()},
            **files,
        },
        "Begin",
    )
    return folder
