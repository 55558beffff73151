"""How a run is shared among the doors: a refusal costs little, a whole call or a configuration much."""

from collections.abc import Mapping
from typing import Final

__all__ = ["SHARES"]

SHARES: Final[Mapping[str, int]] = {
    "ami": 12, "agi": 30, "webhooks": 30, "telegram": 15, "cel": 6, "cdr": 6, "config": 1,
}  # fmt: skip
