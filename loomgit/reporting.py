"""Deprecated path of `loomgit.api.gather_evidence`. It works until the next release."""

import warnings

from loomgit.workflows.report import gather_evidence

__all__ = ["gather_evidence"]

warnings.warn(
    "loomgit.reporting is deprecated: import gather_evidence from loomgit.api",
    DeprecationWarning,
    stacklevel=2,
)
