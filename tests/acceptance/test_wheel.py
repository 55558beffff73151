"""The wheel that people install, built from the sources of this tree."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "config.example.toml", "config.minimal.toml")
FOLDERS = ("vochi_agent", "sql", "dialplan", "systemd")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the wheel holds. It is built from a copy: a build leaves folders behind."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tree / "dist", tree],
        check=True,
        timeout=100,
    )
    (wheel,) = (tree / "dist").glob("vochi_agent-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_and_every_sql_file(members: set[str]) -> None:
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "vochi_agent").rglob("*.py")}
    sql = {f"vochi_agent/{file.relative_to(ROOT)}" for file in (ROOT / "sql").rglob("*.sql")}

    assert modules | sql <= members
    assert "vochi_agent/sql/__init__.py" in members


def test_the_wheel_holds_what_asterisk_is_given(members: set[str]) -> None:
    files = {file for file in (ROOT / "dialplan").rglob("*") if file.suffix in (".conf", ".example", ".py")}

    assert {f"vochi_agent/{file.relative_to(ROOT)}" for file in files} <= members


def test_the_wheel_brings_the_example_configurations(members: set[str]) -> None:
    shared = {member.split("/share/", 1)[1] for member in members if "/share/" in member}

    assert {"vochi-agent/config.example.toml", "vochi-agent/config.minimal.toml"} <= shared


def test_the_wheel_holds_no_tests(members: set[str]) -> None:
    assert not [member for member in members if member.startswith("tests")]
