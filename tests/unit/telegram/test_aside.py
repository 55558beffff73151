"""A long import is waited for by whoever needs it, and by nobody else."""

import asyncio
import sys
import textwrap
from pathlib import Path

import pytest

from vochi_agent.telegram.aside import imported_aside


async def test_the_module_comes_and_the_loop_turns_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.2)\nanswer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    turns = 0
    task = asyncio.create_task(imported_aside("slow_to_import"))
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1

    assert (await task).answer == 42
    assert turns > 5


async def test_what_cannot_be_imported_is_raised() -> None:
    with pytest.raises(ModuleNotFoundError):
        await imported_aside("no_such_module_anywhere")


async def test_the_end_of_the_process_does_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "endless_to_import.py").write_text("import time\ntime.sleep(60)\n")
    program = textwrap.dedent("""
        import asyncio
        from vochi_agent.telegram.aside import imported_aside

        async def main():
            task = asyncio.create_task(imported_aside("endless_to_import"))
            await asyncio.sleep(0.1)
            task.cancel()

        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"}
    )
    async with asyncio.timeout(20):
        assert await process.wait() == 0
