"""Loom: pipelines, prompts and their tests, native to Git.

This module contains only the version, because Python imports it before every other module of the
package. PYTEST_DONT_REWRITE: `loom test` imports Loom before it starts pytest. If this word were
missing, pytest would warn that it can no longer rewrite the assertions in Loom.
"""

__version__ = "0.1.0"
