"""What is installed is what stands in the repository."""

import configparser
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_setup_cfg_lists_the_packages_on_disk(setup: configparser.ConfigParser) -> None:
    on_disk = {
        ".".join(init.parent.relative_to(ROOT).parts) for init in (ROOT / "vochi_agent").rglob("__init__.py")
    } | {"vochi_agent.dialplan", "vochi_agent.sql"}

    assert set(setup["options"]["packages"].split()) == on_disk


def test_every_sql_file_is_package_data(setup: configparser.ConfigParser) -> None:
    patterns = [pattern.strip() for pattern in setup["options.package_data"]["vochi_agent.sql"].split(",")]
    shipped = {file for pattern in patterns for file in (ROOT / "sql").glob(pattern)}

    assert shipped == set((ROOT / "sql").rglob("*.sql"))
    assert (ROOT / "sql/__init__.py").exists()


def test_every_file_for_asterisk_is_package_data_and_is_shared(setup: configparser.ConfigParser) -> None:
    """As package data for `dialplan print`, as data files for people."""
    patterns = [pattern.strip() for pattern in setup["options.package_data"]["vochi_agent.dialplan"].split(",")]
    packaged = {file for pattern in patterns for file in (ROOT / "dialplan").glob(pattern)}
    shared = {ROOT / name for files in setup["options.data_files"].values() for name in files.split()}
    on_disk = {file for file in (ROOT / "dialplan").rglob("*") if file.suffix in (".conf", ".example")}

    assert packaged == on_disk
    assert on_disk <= shared


def test_alerts_and_dashboard_are_shared(setup: configparser.ConfigParser) -> None:
    shared = {ROOT / name for files in setup["options.data_files"].values() for name in files.split()}

    assert set((ROOT / "monitoring").iterdir()) <= shared


def test_data_files_exist(setup: configparser.ConfigParser) -> None:
    for files in setup["options.data_files"].values():
        for name in files.split():
            assert (ROOT / name).is_file(), name


def test_pyproject_holds_tools_only() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert pyproject.keys() == {"build-system", "tool"}


def test_ci_runs_make_test_and_wants_asterisk() -> None:
    script = ROOT / ".ci/run"

    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text(encoding="utf-8").splitlines()[-2:] == ["export VOCHI_REQUIRE_ASTERISK=1", "exec make test"]


def test_make_alone_prints_every_target() -> None:
    environment = {"PATH": os.defpath}  # without the MAKEFLAGS of a `make test` around us
    printed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )

    for target in (
        "help",
        "venv",
        "demo",
        "test",
        "unit",
        "check",
        "fmt",
        "peers",
        "wheel",
        "deb",
        "packages",
        "clean",
    ):
        assert f"make {target} " in printed.stdout


def test_both_readmes_show_the_same_commands() -> None:
    def commands(name: str) -> list[str]:
        blocks = (ROOT / name).read_text(encoding="utf-8").split("```")[1::2]
        return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()[1:]]

    assert commands("README.md") == commands("README.ru.md")


def test_the_version_is_in_the_changelog() -> None:
    version = subprocess.run(
        [sys.executable, "-c", "import vochi_agent; print(vochi_agent.__version__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.strip()
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog
