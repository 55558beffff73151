"""A PostgreSQL of the benchmarks' own: as it comes, durable, with its own memory; that of the tests is neither."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import PostgresServer
from vochi_agent.store.installations import find_installation

__all__ = ["durable_server"]


@contextmanager
def durable_server() -> Iterator[tuple[PostgresServer, Path]]:
    """A running server, and the folder that it lies in, for whatever else is needed; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # as root the server runs as somebody else
        programs = find_installation().path / "bin"
        with PostgresServer(programs, Path(folder), settings=("max_connections=60",)) as server:
            yield server, Path(folder)
