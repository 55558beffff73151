"""The wheel that people install, built from a clean copy of this tree: what is in it, and that it works by itself."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.packages import INSTALL_TIMEOUT_S, installed

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)  # PyPI may be far away


@pytest.fixture(scope="module")
def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory)


def said(program: Path, *arguments: str | Path) -> str:
    """What the installed program prints, far from this tree."""
    done = subprocess.run(
        [program, *arguments],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_module_and_every_sql_file(members: set[str]) -> None:
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "vochi_agent").rglob("*.py")}
    sql = {f"vochi_agent/{file.relative_to(ROOT)}" for file in (ROOT / "sql").rglob("*.sql")}

    assert modules | sql | {"vochi_agent/py.typed"} <= members
    assert "vochi_agent/sql/__init__.py" in members


def test_the_wheel_holds_what_asterisk_is_given(members: set[str]) -> None:
    files = {file for file in (ROOT / "dialplan").rglob("*") if file.suffix in (".conf", ".example", ".py")}

    assert {f"vochi_agent/{file.relative_to(ROOT)}" for file in files} <= members


def test_the_wheel_brings_the_example_configurations_and_the_unit(members: set[str]) -> None:
    shared = {member.split("/share/", 1)[1] for member in members if "/share/" in member}

    examples = {file.name for file in ROOT.glob("config.*.toml")}
    assert {f"vochi-agent/{name}" for name in examples} <= shared
    assert "vochi-agent/systemd/vochi-agent.service" in shared
    assert {f"vochi-agent/monitoring/{file.name}" for file in (ROOT / "monitoring").iterdir()} <= shared


def test_the_wheel_holds_the_scenarios_that_are_simulated(members: set[str]) -> None:
    folder = "vochi_agent/simulator/scenarios"
    scenarios = {f"{folder}/{file.name}" for file in (ROOT / folder).glob("*.toml")}

    assert scenarios <= members
    assert scenarios


def test_the_wheel_holds_no_tests(members: set[str]) -> None:
    assert not [member for member in members if member.startswith(("tests", "packaging", "benchmarks"))]


def test_pip_installs_it_into_an_empty_venv_where_it_works_by_itself(programs: Path, tmp_path: Path) -> None:
    """Far from the tree: the version, a dialplan from the packaged files, a sound configuration."""
    program, config = programs / "vochi-agent", tmp_path / "config.toml"
    minimal = (programs.parent / "share/vochi-agent/config.minimal.toml").read_text(encoding="utf-8")
    config.write_text(minimal + '[[enterprises.agents]]\nextension = "151"\n', encoding="utf-8")
    for name in ("ami-secret", "retailcrm-key"):
        (tmp_path / name).write_text("s3cret\n")

    assert said(program, "--version").startswith("vochi-agent 0.")
    assert "The configuration is sound." in said(program, "-c", config, "check")
    assert "[vochi]" in said(program, "-c", config, "dialplan", "print", "--file", "vochi.conf")
    assert "lookup" in said(program, "completion", "bash")


def test_what_pip_installed_agrees_with_itself(programs: Path) -> None:
    check = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", programs / "python", "check"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(os.getenv("VOCHI_PACKAGES") != "1", reason="make packages")
def test_pipx_installs_it_for_one_user(wheel: Path, tmp_path: Path) -> None:
    folders = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    environment = {**os.environ, **folders, "PIPX_DEFAULT_PYTHON": "/usr/bin/python3"}
    venv.create(tmp_path / "tools", with_pip=True, symlinks=True)
    tools = tmp_path / "tools/bin"
    subprocess.run([tools / "pip", "--quiet", "install", "pipx"], check=True, timeout=INSTALL_TIMEOUT_S)

    subprocess.run(
        [tools / "pipx", "install", f"{wheel}[embedded]"], check=True, timeout=INSTALL_TIMEOUT_S, env=environment
    )

    assert said(tmp_path / "bin/vochi-agent", "--version").startswith("vochi-agent 0.")
    assert "Всё сошлось" in said(tmp_path / "bin/vochi-agent", "demo")
    subprocess.run([tools / "pipx", "uninstall", "vochi-agent"], check=True, timeout=60, env=environment)
    assert not (tmp_path / "bin/vochi-agent").exists()
