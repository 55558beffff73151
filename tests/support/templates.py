"""Placeholders written as @NAME@: dollars, braces and percent signs belong to dialplans and scenarios."""

import re
from collections.abc import Mapping

__all__ = ["fill"]


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with every placeholder replaced; one without a value is a KeyError."""
    return re.sub("@([A-Z_]+)@", lambda match: values[match[1]], text)
