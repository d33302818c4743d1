"""Loom: pipelines, prompts and their tests, native to Git.

This module contains only the version, because pytest imports the package in every project that
uses it. PYTEST_DONT_REWRITE: `loom test` imports Loom before it starts pytest, and pytest would
warn that it can no longer rewrite Loom's assertions.
"""

__version__ = "0.1.0"
