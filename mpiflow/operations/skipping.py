"""Tasks that are not to run."""

from __future__ import annotations


class Skipped(Exception):
    """A task makes nothing, and that is no failure of the run; the text says why, if it has failed itself."""
