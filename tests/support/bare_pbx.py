"""A PBX as its administrator has it before he ever heard of us: the laboratory's telephones, his own small dialplan."""

import asyncio
import os
import sys
from asyncio import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BufferedWriter
from pathlib import Path

from tests.support.asterisk import Asterisk

__all__ = ["Shell", "make_bare", "readme_commands"]

DIALPLAN = """\
[general]
static = yes
{globals}
[from-trunk]
exten => 375170000001,1,Dial(PJSIP/101,20)
 same => n,Hangup()
exten => 375170000003,1,Dial(PJSIP/103,20)
 same => n,Hangup()
exten => h,1,UserEvent(HisOwnEnd,Number: ${{CALLERID(num)}})
[internal]
exten => _1XX,1,Dial(PJSIP/${{EXTEN}},20)
"""
MANAGER = """\
[general]
enabled = yes
bindaddr = 127.0.0.1
port = {port}
displayconnects = no
[lab]
secret = {secret}
deny = 0.0.0.0/0.0.0.0
permit = 127.0.0.1/255.255.255.255
read = all
write = all
"""
ARI = "[general]\nenabled = yes\n[lab]\ntype = user\nread_only = no\npassword_format = plain\npassword = {secret}\n"
STOP_S = 10.0  # the contract's
OURS = ("vochi.conf", "company.conf")


async def make_bare(pbx: Asterisk, *, sections: bool = True) -> Path:
    """Take everything of ours out of the laboratory's files and start anew; returns the folder of its files.

    Args:
        sections: His files have the sections that ours add to; else some are empty.
    """
    etc = pbx.home / "etc"
    await pbx.kill()
    for file in (*etc.glob("*.example"), *(etc / name for name in OURS)):
        file.unlink()
    (etc / "extensions.conf").write_text(DIALPLAN.format(globals="[globals]\nHIS = own" if sections else ""))
    (etc / "manager.conf").write_text(MANAGER.format(port=pbx.ports.ami, secret=pbx.secret))
    (etc / "ari.conf").write_text(ARI.format(secret=pbx.secret))
    (etc / "cdr.conf").write_text("[general]\n")
    (etc / "cel.conf").write_text("[general]\nenable = no\n" if sections else "")
    (etc / "cel_custom.conf").write_text("[mappings]\n" if sections else "")
    pbx.log.unlink()
    await pbx.start()
    return etc


def readme_commands(readme: str) -> list[str]:
    """The indented lines of a README.txt, in order."""
    return [line.strip() for line in readme.splitlines() if line.startswith("    ")]


class Shell:
    """Runs commands as an administrator types them: `asterisk` and `vochi-agent` are on his PATH.

    Args:
        folder: Where he stands; the two programs are put below.
        vochi: What his `vochi-agent` is.
    """

    def __init__(self, folder: Path, pbx: Asterisk, vochi: str = f"{sys.executable} -m vochi_agent") -> None:
        self._folder = folder
        self._programs = folder / "bin"
        self._programs.mkdir()
        self._put("asterisk", f'exec {pbx.program} -C {pbx.home / "etc" / "asterisk.conf"} "$@"')
        self._put("vochi-agent", f'exec {vochi} "$@"')

    async def __call__(self, command: str, *, stdin: str = "") -> tuple[int, str]:
        """The exit code and everything that was said. A traceback is never an answer."""
        process = await self._start(command, stdout=subprocess.PIPE)
        said, _ = await process.communicate(stdin.encode())
        assert b"Traceback" not in said, said.decode()
        return process.returncode or 0, said.decode()

    @asynccontextmanager
    async def running(self, command: str) -> AsyncIterator[None]:
        """A command that ends by SIGTERM and with 0; what it says is in the file `output`."""
        with (self._folder / "output").open("wb") as output:
            process = await self._start(f"exec {command}", stdout=output)
        try:
            yield
            process.terminate()
            async with asyncio.timeout(STOP_S):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _start(self, command: str, *, stdout: int | BufferedWriter) -> subprocess.Process:
        environment = {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "HOME": "/nonexistent",
            "VOCHI_CONFIG": str(self._folder / "vochi-agent" / "config.toml"),
        }
        return await subprocess.create_subprocess_exec(
            "/bin/sh", "-euc", command, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.STDOUT,
            env=environment, cwd=self._folder,
        )  # fmt: skip

    def _put(self, name: str, line: str) -> None:
        file = self._programs / name
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)
