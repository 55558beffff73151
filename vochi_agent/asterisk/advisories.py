"""Security advisories of Asterisk that concern a companion of it, and which versions have their fixes. A table.

Source: the announcements of the Asterisk project (https://github.com/asterisk/asterisk/security/advisories, the change
logs of the releases named) and CERT-FR 2026-AVI-0805, as of 2026-08. Only what stands there is here: an advisory whose
fixed versions were not found in them is not in the table, and a later one cannot be.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["ADVISORIES", "AS_OF", "Advisory", "open_advisories"]

AS_OF: Final = "2026-08"
VERSION: Final = re.compile(r"(?:certified[/-])?(\d+)\.(\d+)(?:\.(\d+))?(?:-cert(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One of them.

    Attributes:
        id: As the project writes it.
        month: When it was published.
        what: In short, for who runs a PBX.
        fixed: Branch -> the first release of it with the fix. Branches that are newer than all of these began with it;
            an older one that is missing never got it.
        certified: The same of certified Asterisk: (branch, minor) -> the number after -cert.
    """

    id: str
    month: str
    what: str
    fixed: Mapping[int, tuple[int, int]]
    certified: Mapping[tuple[int, int], int]


JUNE_2026: Final = {20: (20, 1), 21: (12, 3), 22: (10, 1), 23: (4, 1)}
JUNE_2026_CERTIFIED: Final = {(20, 7): 11, (22, 8): 3}
ADVISORIES: Final[Sequence[Advisory]] = (
    Advisory(
        # CVE-2022-42706 has 16.28, 18.14, 19.6 and 18.9-cert1 as the last affected, Alpine's fixes name 18.15.1. That
        # 18.15.0 lacks it, and those of the other branches that are as old, is the cautious reading.
        id="AST-2022-009",
        month="2022-12",
        what="AMI GetConfig reads files outside of /etc/asterisk",
        fixed={16: (29, 1), 18: (15, 1), 19: (7, 1), 20: (0, 1)},
        certified={(18, 9): 3},
    ),
    Advisory(
        id="GHSA-c4cg-9275-6w44",
        month="2024-08",
        what="an AMI user with originate runs programs (CVE-2024-42365)",
        fixed={18: (24, 2), 20: (9, 2), 21: (4, 2)},
        certified={(18, 9): 11, (20, 7): 2},
    ),
    Advisory(
        # Named in the change logs of 20.11.1, 21.6.1, 18.9-cert13 and 20.7-cert4; 18.26.1 and 22.1.1 came on their day.
        id="GHSA-33x6-fj46-6rfh",
        month="2025-01",
        what="AMI ListCategories reads files outside of /etc/asterisk",
        fixed={18: (26, 1), 20: (11, 1), 21: (6, 1), 22: (1, 1)},
        certified={(18, 9): 13, (20, 7): 4},
    ),
    Advisory(
        id="GHSA-2grh-7mhv-fcfw",
        month="2025-05",
        what="a sender's display name with control characters forges an identity",
        fixed={18: (26, 2), 20: (14, 1), 21: (9, 1), 22: (4, 1)},
        certified={(18, 9): 14, (20, 7): 5},
    ),
    Advisory(
        id="GHSA-vrfp-mg3q-3959",
        month="2026-06",
        what="ARI ignores live_dangerously and writes files",
        fixed=JUNE_2026,
        certified=JUNE_2026_CERTIFIED,
    ),
    Advisory(
        id="GHSA-wcvv-g26m-wx5c",
        month="2026-06",
        what="an ARI user that may only read can write, over the websocket",
        fixed=JUNE_2026,
        certified=JUNE_2026_CERTIFIED,
    ),
    Advisory(
        id="GHSA-ph27-3m5q-mj5m",
        month="2026-06",
        what="SQL injection into CEL tables (cel_pgsql, cel_tds) by the name of a user event",
        fixed=JUNE_2026,
        certified=JUNE_2026_CERTIFIED,
    ),
    Advisory(
        id="GHSA-3rhj-hhw7-m6fw",
        month="2026-06",
        what="a login over HTTP AMI can crash Asterisk",
        fixed=JUNE_2026,
        certified=JUNE_2026_CERTIFIED,
    ),
)


def open_advisories(version: str) -> list[Advisory] | None:
    """Those whose fix a version lacks; None for a version that cannot be read."""
    match = VERSION.match(version)
    if match is None:
        return None
    branch, minor, patch, certificate = (int(part) if part else 0 for part in match.groups())
    if match[4]:
        return [each for each in ADVISORIES if _lacks_certified(each, branch, minor, certificate)]
    return [each for each in ADVISORIES if _lacks(each, branch, (minor, patch))]


def _lacks(advisory: Advisory, branch: int, release: tuple[int, int]) -> bool:
    first = advisory.fixed.get(branch)
    return branch < max(advisory.fixed) if first is None else release < first


def _lacks_certified(advisory: Advisory, branch: int, minor: int, certificate: int) -> bool:
    first = advisory.certified.get((branch, minor))
    return (branch, minor) < max(advisory.certified) if first is None else certificate < first
