"""Every kind of call a company has, played on a real PBX, each with the record that a correct reading gives."""

from tests.support.truth import arriving, handing_over, leaving, meeting
from tests.support.truth.stage import KINDS, SECRETARY, Expected, Stage

__all__ = ["KINDS", "SECRETARY", "Expected", "Stage", "arriving", "handing_over", "leaving", "meeting"]
