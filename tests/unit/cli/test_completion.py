"""Completion of the shells, tried in a real bash."""

import subprocess

import pytest

from vochi_agent.cli import COMMANDS, main


def completed(script: str, *words: str) -> set[str]:
    """What bash offers behind these words."""
    *before, last = words
    asked = f"""
        {script}
        COMP_WORDS=({" ".join(before)} '{last}') COMP_CWORD={len(before)}
        $(complete -p vochi-agent | sed -E 's/.*-F ([^ ]+).*/\\1/') vochi-agent '{last}' '{before[-1]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=20)
    return set(done.stdout.split())


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", "bash"]) == 0
    return capsys.readouterr().out


def test_bash_completes_every_command(script: str) -> None:
    assert set(COMMANDS) <= completed(script, "vochi-agent", "")


def test_bash_completes_the_options_and_the_values_of_a_command(script: str) -> None:
    assert "--freeze-test" in completed(script, "vochi-agent", "doctor", "--f")
    assert completed(script, "vochi-agent", "completion", "f") == {"fish"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out

    assert not [name for name in COMMANDS if name not in script]
