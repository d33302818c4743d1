"""Loom: pipelines, prompts and their tests, native to Git.

Nothing but the version lives here: pytest imports this package in every project of its users.
"""

__version__ = "0.1.0"
