"""What one trial saw."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One defect, tried.

    Attributes:
        defect: What goes wrong.
        peer: What the peer did.
        ours: What our code did with the same input.
        reproduced: The peer failed and ours did not.
    """

    defect: str
    peer: str
    ours: str
    reproduced: bool

    def to_json(self) -> str:
        """One line, for the process that started the trial."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Finding":
        """The inverse."""
        return cls(**json.loads(line))
