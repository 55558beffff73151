"""The licences of everything that an installed vochi-agent brings along, as their authors declare them.

    python packaging/licences.py [--json | --requirements]

1 when one of them is not known to go with ours, or declares none: then somebody has to read it.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

# With their own spellings: as SPDX has them, and as the classifiers of PyPI do.
WELCOME: Final = {
    "0BSD", "Apache-2.0", "Apache Software License", "Apache 2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSD License",
    "ISC", "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)",
    "PSF-2.0", "PostgreSQL", "PostgreSQL License", "Python Software Foundation License", "Unlicense",
    "The Unlicense (Unlicense)",
}  # fmt: skip
SHIPPED_EXTRAS: Final = frozenset({"embedded", "mysql"})
REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^]]*)\])?[^;]*(?:;(.*))?")
EXTRA: Final = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True, slots=True, order=True)
class Licensed:
    """A library and what its metadata says."""

    name: str
    version: str
    licence: str

    @property
    def welcome(self) -> bool:
        """Whether each licence it names, or one of those it offers, goes with ours."""
        offers = re.split(r"\s+OR\s+", self.licence)
        return any(all(_known(part) for part in re.split(r"\s+AND\s+|; ", each)) for each in offers)


def _known(licence: str) -> bool:
    return not {licence, licence.strip("()")}.isdisjoint(WELCOME)


def brought_along(name: str, extras: frozenset[str] = frozenset()) -> list[Licensed]:
    """What the distribution needs, and what that needs; sorted, without itself.

    What a marker keeps away from this machine is not installed, so it is not found.
    """
    found: dict[str, Licensed] = {}
    waiting = list(_needs(distribution(name), extras))
    while waiting:
        needed, wanted = waiting.pop()
        if needed in found:
            continue
        try:
            library = distribution(needed)
        except PackageNotFoundError:
            continue
        found[needed] = Licensed(library.name, library.version, _licence(library))
        waiting += _needs(library, wanted)
    return sorted(found.values(), key=lambda each: each.name.lower())


def _needs(library: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for line in library.requires or ():
        match = REQUIREMENT.match(line)
        if match is None:
            continue
        name, inner, marker = match.groups()
        extra = EXTRA.search(marker or "")
        if extra is None or extra[1] in extras:
            normal = re.sub(r"[-_.]+", "-", name).lower()
            yield normal, frozenset(word.strip() for word in (inner or "").split(",") if word.strip())


def _licence(library: Distribution) -> str:
    """The SPDX expression (PEP 639), else the classifiers, else the first line of the old field."""
    said = library.metadata
    if expression := said.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in said.get_all("Classifier") or () if text.startswith("License ::")]
    named = [text.rsplit(" :: ", 1)[1] for text in classifiers if not text.endswith(":: OSI Approved")]
    return "; ".join(named) or (said.get("License") or "").strip().split("\n", 1)[0] or "none declared"


def main() -> int:
    """Print them."""
    parser = argparse.ArgumentParser(description="Licences of what vochi-agent brings along.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--requirements", action="store_true", help="the exact versions, as pip wants them")
    parser.add_argument("--of", default="vochi-agent", help=argparse.SUPPRESS)
    args = parser.parse_args()
    libraries = brought_along(args.of, SHIPPED_EXTRAS)
    if args.json:
        print(json.dumps([asdict(each) for each in libraries], indent=1))
    elif args.requirements:
        print("\n".join(f"{each.name}=={each.version}" for each in libraries))
    else:
        for each in libraries:
            print(f"{each.name:24} {each.version:14} {each.licence}")
    doubtful = [each for each in libraries if not each.welcome]
    for each in doubtful:
        print(f"{each.name} {each.version}: {each.licence!r} is not known to go with MIT: read it", file=sys.stderr)
    return 1 if doubtful else 0


if __name__ == "__main__":
    sys.exit(main())
