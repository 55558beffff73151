"""A real MariaDB for the tests, as FreePBX has it: one folder, loopback, everybody may do everything."""

import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.support.fetch import Tool

__all__ = ["MariaDb"]

READY = "ready for connections"


class MariaDb:
    """A server that runs while the block runs. The machine's zone is not UTC, as on a box in an office."""

    def __init__(self, tool: Tool, folder: Path) -> None:
        self._tool = tool
        self._folder = folder / "mariadb"
        self._process: subprocess.Popen[str] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        """As `asterisk.cel` of a configuration has it."""
        return f"mysql://freepbx:s%40cret@127.0.0.1:{self.port}/asteriskcdrdb"

    def __enter__(self) -> Self:
        self._folder.mkdir()
        share = (self._tool.root or Path("/")) / "usr" / "share" / "mysql"
        command = [str(self._tool.program("mariadbd")), "--no-defaults", f"--datadir={self._folder}"]
        command += ["--skip-grant-tables", "--bind-address=127.0.0.1", f"--port={self.port}", "--user=root"]
        command += [
            f"--socket={self._folder}/socket",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share}/charsets",
        ]
        command += ["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0", "--default-time-zone=+03:00"]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if READY in line:
                return self
        raise RuntimeError("MariaDB did not start:\n" + "".join(said))

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        self._process.kill()
        self._process.wait(10)
        self._process.stderr.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
