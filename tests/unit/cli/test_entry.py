"""How the process ends, and what its streams may be."""

import asyncio
import os
import shlex
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SCENARIOS = REPOSITORY / "tests" / "scenarios"


async def ended(program: str) -> tuple[int | None, str]:
    """Exit code and output of a Python program that has our package."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(program),
        env={"PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_a_thread_that_nobody_waits_for_never_meets_the_interpreters_end() -> None:
    code, out = await ended("""
        import atexit, threading, time
        from vochi_agent import cli

        atexit.register(print, "the interpreter ends")
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        cli.main = lambda: print("what was said") or 3
        cli.entry()
    """)
    assert (code, out) == (3, "what was said\n")


async def test_without_such_a_thread_the_process_ends_as_every_other() -> None:
    code, out = await ended("""
        import atexit
        from vochi_agent import cli

        atexit.register(print, "the interpreter ends")
        cli.main = lambda: 3
        cli.entry()
    """)
    assert (code, out) == (3, "the interpreter ends\n")


CONFIGURATION = """
[database]
url = "postgresql://nobody@127.0.0.1:1/nothing"
[[enterprises]]
number = "0901"
name = "Ромашка 🌼"
country = "BY"
[enterprises.asterisk]
ami = "127.0.0.1:1"
ami_username = "vochi"
ami_secret = "s"
"""


@pytest.fixture
def command(tmp_path: Path) -> str:
    """How a shell calls us."""
    (tmp_path / "config.toml").write_text(CONFIGURATION)
    return f"{shlex.quote(sys.executable)} -m vochi_agent -c {shlex.quote(str(tmp_path / 'config.toml'))}"


async def shell(script: str, **environment: str) -> tuple[int | None, str, str]:
    """Exit code, output and errors; Python buffers as it does for people."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        script,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    return process.returncode, out.decode("koi8-r" if environment else "utf-8"), err.decode()


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [("check", ""), ("--help", ""), ("replay --phases --ami {recording}", "PYTHONUNBUFFERED=1")],
    ids=["at the end", "while usage is told", "in the middle"],
)
async def test_a_reader_who_has_seen_enough_is_no_error(command: str, arguments: str, setting: str) -> None:
    """As in `vochi-agent calls | head`, however little is printed; the code comes by way of standard error."""
    said = arguments.format(recording=shlex.quote(str(SCENARIOS / "attended-transfer" / "ami.raw")))

    # The sleep of the one before lets the reader be gone.
    code, _, err = await shell(f"{{ sleep 0.3; {setting} {command} {said}; echo ended $? >&2; }} | true")

    assert (code, err) == (0, "ended 0\n")


async def test_a_full_disk_is_a_sentence(command: str) -> None:
    assert await shell(f"{command} dialplan print --flavour freepbx >/dev/full") == (
        3,
        "",
        "[Errno 28] No space left on device\n",
    )


async def test_closed_streams_are_as_good_as_any(command: str) -> None:
    """As cron jobs and services of other programs may have them."""
    said = "0901: neither asterisk.cel nor asterisk.cdr is configured: nothing can be recovered\n"

    assert await shell(f"{command} recover <&- >&-") == (1, "", said)
    assert (await shell(f"{command} recover <&- >&- 2>&-"))[0] == 1


async def test_a_terminal_that_lacks_letters_shows_the_others(command: str) -> None:
    code, out, err = await shell(f"{command} check", PYTHONIOENCODING="koi8-r")

    assert (code, out.splitlines()[0], err) == (0, "0901 Ромашка ?: 0 lines, 0 agents, 0 CRMs, 0 chats", "")


async def test_half_a_letter_on_the_terminal_is_asked_for_again(tmp_path: Path) -> None:
    """What backspace leaves of a Cyrillic one on a terminal that does not know of UTF-8."""
    (tmp_path / "pjsip.conf").write_text("[gsm1]\ntype = endpoint\noutbound_auth = gsm1\n")
    init = f"{shlex.quote(sys.executable)} -m vochi_agent -c {tmp_path}/new/config.toml init --pbx {tmp_path}"

    code, _, err = await shell(f"printf '\\320\\nМТС\\n' | PYTHONIOENCODING=utf-8 {init} --country BY --timezone UTC")

    assert (code, err.count("That cannot be."), "Traceback" in err) == (0, 1, False)
    assert 'label = "МТС"' in (tmp_path / "new" / "config.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "prompt", "sentence"),
    [
        ("watch --ami 127.0.0.1:1", "AMI secret: ", "the AMI secret is missing"),
        ("init --pbx . --country BY --timezone UTC --crm uon --number 1 --name x", "Its key: ", "--crm-key-file is"),
    ],
)
async def test_a_secret_that_nobody_gives_is_no_crash(
    tmp_path: Path, arguments: str, prompt: str, sentence: str
) -> None:
    """Ctrl-D where a password is asked for."""
    (tmp_path / "manager.conf").write_text("[general]\nenabled = yes\n")
    ours, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vochi_agent", "-c", "config.toml", *arguments.split()),
        env={"PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        start_new_session=True,
        stdin=terminal,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        asked = await process.stderr.readuntil(prompt.encode())
        os.write(ours, b"\x04")
        said = await process.stderr.read()
        code = await process.wait()
    os.close(ours)
    os.close(terminal)

    assert code == 2, (asked + said).decode()
    assert sentence in said.decode()
    assert b"Traceback" not in said
