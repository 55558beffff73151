"""Real programs for the tests, as unpacked Debian packages under `var/tools/`: nothing is installed on the machine.

A private apt (own lists, cache, an empty dpkg status) resolves and downloads from the mirror that the machine's own apt
uses and checks signatures with the machine's archive keys; `dpkg-deb` unpacks. No maintainer script runs, neither root
nor chroot is needed: `bin/` of a tool holds small scripts that start its programs with its own libraries.
Invariant: a folder `var/tools/NAME` is complete; it appears by one rename, under a lock.

    python -m tests.support.fetch [NAME...]
"""

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.private_apt import Apt, ToolMissing, machine_mirror

__all__ = ["COMPLETE", "RECIPES", "TOOLS", "Recipe", "Tool", "ToolMissing", "fetch", "locked"]

TOOLS = Path(__file__).resolve().parents[2] / "var" / "tools"
COMPLETE = ".complete"
SELF_TEST_S = 20.0
# Never read by a test; the conversions of glibc alone are 8 MB.
LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/lintian", "./usr/lib/*/gconv")


@dataclass(frozen=True, slots=True)
class Tool:
    """Programs that can be started.

    Attributes:
        bin: The folder of the programs.
        root: The unpacked packages, None when the machine's own programs are used.
        version: What the program says of itself, for the test report.
    """

    name: str
    bin: Path
    root: Path | None
    version: str

    def program(self, name: str) -> Path:
        """The path of one program."""
        return self.bin / name


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tool is put together.

    Attributes:
        suite: Debian suite the packages come from.
        packages: Unpacked as they are; of their dependencies only libraries follow.
        libraries: Wanted besides those that the first package depends on directly.
        programs: The folder inside the packages whose programs get a script in `bin/`.
        check: Program and argument that print the version.
        expected: What that version must match.
        on_machine: Folder of the same programs where the machine has them.
        own_loader: Start through the unpacked dynamic loader: the suite's C library is not the machine's. Without it
            programs may start one another, and the machine's C library must be as new as the suite's.
        needless: Libraries that no test needs.
        dropped: Files removed after unpacking.
    """

    suite: str
    packages: tuple[str, ...]
    programs: str
    check: tuple[str, ...]
    expected: str
    libraries: tuple[str, ...] = ()
    on_machine: str = ""
    own_loader: bool = True
    needless: str = r"(?!)"
    dropped: tuple[str, ...] = ()


ASTERISK_LIBRARIES = ("libgsm1", "libresample1", "libsrtp2-1")

RECIPES = {
    "asterisk22": Recipe(
        suite="forky",
        packages=("asterisk", "asterisk-modules"),
        libraries=ASTERISK_LIBRARIES,
        programs="usr/sbin",
        check=("asterisk", "-V"),
        expected=r"Asterisk 22\.",
    ),
    "asterisk16": Recipe(
        suite="bullseye",
        packages=("asterisk", "asterisk-modules"),
        libraries=ASTERISK_LIBRARIES,
        programs="usr/sbin",
        check=("asterisk", "-V"),
        expected=r"Asterisk 16\.",
    ),
    "sipp": Recipe(
        suite="bookworm",
        packages=("sip-tester",),
        programs="usr/bin",
        check=("sipp", "-v"),
        expected=r"SIPp v3\.",
        on_machine="/usr/bin",
    ),
    "postgresql15": Recipe(
        suite="bookworm",
        packages=("postgresql-15", "postgresql-client-15"),
        programs="usr/lib/postgresql/15/bin",
        check=("postgres", "-V"),
        expected=r"PostgreSQL\) 15\.",
        on_machine="/usr/lib/postgresql/15/bin",
        own_loader=False,
        # The just-in-time compiler is 100 MB of LLVM; without its module the server does not look for it.
        needless=r"libllvm.*",
        dropped=("usr/lib/postgresql/15/lib/llvmjit.so",),
    ),
    "mariadb": Recipe(
        suite="bookworm",
        packages=("mariadb-server-core",),
        programs="usr/sbin",
        check=("mariadbd", "--version"),
        expected=r"10\.11\.",
        on_machine="/usr/sbin",
        own_loader=False,
    ),
    # For a Debian of the tests' own: one makes its folder, the other boots it (tests/support/machine.py).
    "mmdebstrap": Recipe(
        suite="bookworm",
        packages=("mmdebstrap",),
        programs="usr/bin",
        check=("mmdebstrap", "--version"),
        expected=r"mmdebstrap 1\.",
        on_machine="/usr/bin",
        own_loader=False,
        needless=r".*",
    ),
    "nspawn": Recipe(
        suite="bookworm",
        packages=("systemd-container",),
        libraries=("libsystemd-shared",),
        programs="usr/bin",
        check=("systemd-nspawn", "--version"),
        expected=r"systemd 252",
        on_machine="/usr/bin",
        own_loader=False,
    ),
    # The server and promtool; nobody looks at its pages.
    "prometheus": Recipe(
        suite="bookworm",
        packages=("prometheus",),
        programs="usr/bin",
        check=("prometheus", "--version"),
        expected=r"prometheus, version 2\.",
        on_machine="/usr/bin",
        own_loader=False,
        needless=r"libjs-.*",
    ),
}


def fetch(name: str) -> Tool:
    """The tool, from the machine, from an earlier fetch, or fetched now (about 10 s).

    Raises:
        ToolMissing: It cannot be had here; the message says why.
    """
    recipe = RECIPES[name]
    folder = TOOLS / name
    if recipe.on_machine and (Path(recipe.on_machine) / recipe.check[0]).exists():
        return Tool(name, Path(recipe.on_machine), None, _version(Path(recipe.on_machine), recipe))
    if not _is_whole(folder, recipe):
        with locked(name):
            if not _is_whole(folder, recipe):
                try:
                    _assemble(name, recipe, folder)
                except (OSError, subprocess.SubprocessError) as exc:
                    raise ToolMissing(f"{name} cannot be put together: {exc}") from exc
    return Tool(name, folder / "bin", folder, (folder / COMPLETE).read_text().strip())


def _is_whole(folder: Path, recipe: Recipe) -> bool:
    """False also for what an earlier recipe left, without the program that is wanted now."""
    return (folder / COMPLETE).exists() and (folder / "bin" / recipe.check[0]).exists()


def _assemble(name: str, recipe: Recipe, folder: Path) -> None:
    mirror = machine_mirror()
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=TOOLS) as scratch:
        apt = Apt(Path(scratch) / "apt", mirror, recipe.suite)
        apt.update()
        root = Path(scratch) / "root"
        _make_root(root)
        for package in apt.download(_wanted(apt, recipe)):
            _unpack(package, root)
        for path in recipe.dropped:
            (root / path).unlink()
        _write_scripts(root, recipe)
        version = _version(root / "bin", recipe)
        (root / COMPLETE).write_text(version + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        root.rename(folder)


def _wanted(apt: Apt, recipe: Recipe) -> list[str]:
    """The packages themselves and every library that they and their libraries need."""
    direct = {package for package in apt.depends(recipe.packages[0]) if package.startswith("lib")}
    libraries = apt.closure(sorted(p for p in direct | set(recipe.libraries) if not _needless(p, recipe)))
    # A second C library beside the machine's loader would be refused by it.
    glibc = () if recipe.own_loader else ("libc6", "libc-bin")
    wanted = {p for p in libraries if p.startswith("lib") and p not in glibc and not _needless(p, recipe)}
    return [*recipe.packages, *sorted(wanted)]


def _needless(package: str, recipe: Recipe) -> bool:
    return re.fullmatch(recipe.needless, package) is not None


def _make_root(root: Path) -> None:
    """Merged /usr, so that packages from before and after that change unpack into the same folders."""
    for folder in ("usr/lib", "usr/lib64", "usr/bin", "usr/sbin"):
        (root / folder).mkdir(parents=True)
    for link in ("lib", "lib64", "sbin"):
        (root / link).symlink_to(f"usr/{link}")


def _unpack(package: Path, root: Path) -> None:
    excluded = [f"--exclude={pattern}" for pattern in (*LEFT_OUT, "./bin", "./bin/*")]
    tar = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", "--no-same-owner", *excluded]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as archive:
        subprocess.run(tar, stdin=archive.stdout, check=True)
    if archive.returncode:
        raise ToolMissing(f"{package.name} cannot be unpacked")


def _write_scripts(root: Path, recipe: Recipe) -> None:
    # systemd's programs share a library that lies in a folder of its own.
    folders = [*root.glob("usr/lib/*-linux-gnu*"), *root.glob("usr/lib/*-linux-gnu*/systemd")]
    libraries = [path.relative_to(root) for path in sorted(folders) if path.is_dir()]
    path = ":".join(f"$root/{folder}" for folder in [*libraries, Path("usr/lib")])
    start = f'LD_LIBRARY_PATH="{path}" exec "$root/{recipe.programs}/%s" "$@"'
    if recipe.own_loader:
        loader = next(iter(sorted(root.glob("usr/lib*/**/ld-linux*.so.*")))).relative_to(root)
        start = f'exec "$root/{loader}" --library-path "{path}" "$root/{recipe.programs}/%s" "$@"'
    (root / "bin").mkdir()
    for program in sorted((root / recipe.programs).iterdir()):
        script = root / "bin" / program.name
        here = 'root=$(cd "$(dirname "$0")/.." && pwd)'
        script.write_text(f"#!/bin/sh\n{here}\n{start % shlex.quote(program.name)}\n")
        script.chmod(0o755)


def _version(folder: Path, recipe: Recipe) -> str:
    """Start the program once: a missing library or a moved suite is better named here than in a test."""
    program, *arguments = recipe.check
    command = [str(folder / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SELF_TEST_S, check=False)
    said = " ".join((done.stdout + done.stderr).split())
    if not re.search(recipe.expected, said):
        raise ToolMissing(f"{recipe.suite} gives no {recipe.expected!r} that runs here: {said[:200]}")
    return said[:80]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Two test runs at once fetch once.

    Raises:
        ToolMissing: There is no place for what is fetched.
    """
    try:
        TOOLS.mkdir(parents=True, exist_ok=True)
        lock = (TOOLS / f".{name}.lock").open("w")
    except OSError as exc:
        raise ToolMissing(f"{TOOLS} cannot be written: {exc}") from exc
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(names: Sequence[str], say: Callable[[str], object] = print) -> int:
    """Fetch what is named, or everything; say what is there. 1 when something cannot be had."""
    missing = 0
    for name in names or RECIPES:
        try:
            tool = fetch(name)
        except ToolMissing as exc:
            missing = 1
            say(f"{name}: MISSING: {exc}")
        else:
            say(f"{name}: {tool.bin} ({tool.version})")
    return missing


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
