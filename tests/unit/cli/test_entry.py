"""How the process ends."""

import asyncio
import sys
import textwrap
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


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
