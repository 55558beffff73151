"""A real Prometheus for the tests: it scrapes what it is shown, and answers by its HTTP API."""

import asyncio
import json
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support.fetch import Tool
from tests.support.polling import until
from tests.support.ports import free_port

__all__ = ["Prometheus", "Series"]

READY_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an answer.

    Attributes:
        labels: What tells it from its neighbours.
        points: Time (seconds of UNIX) and value, the oldest first; what is no number is left out.
    """

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class Prometheus:
    """A server on loopback with a database of its own, which lives as long as the block."""

    def __init__(self, tool: Tool, folder: Path, targets: Sequence[str], *, interval_s: int = 1) -> None:
        self.interval_s = interval_s
        self._program = tool.program("prometheus")
        self._folder, self._targets = folder, targets
        self._listen = f"127.0.0.1:{free_port()}"
        self._process: Process | None = None
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        config = self._folder / "prometheus.yml"
        # YAML is a superset of JSON.
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": f"{self.interval_s}s", "scrape_timeout": f"{self.interval_s}s"},
                    "scrape_configs": [{"job_name": "vochi-agent", "static_configs": [{"targets": [*self._targets]}]}],
                }
            )
        )
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._program,
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'prometheus'}",
                f"--web.listen-address={self._listen}",
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
            )
        self._client = aiohttp.ClientSession(f"http://{self._listen}")
        try:
            await until(self._is_ready, within=READY_WITHIN_S)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process
        assert self._client
        await self._client.close()
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()

    async def series(self, expr: str, *, begin: float, end: float, step_s: float) -> list[Series]:
        """What an expression says at every step of a time. Raises AssertionError with Prometheus' own words."""
        asked = {"query": expr, "start": f"{begin}", "end": f"{end}", "step": f"{step_s}"}
        result = await self._ask("/api/v1/query_range", asked)
        return [Series(each["metric"], _numbers(each["values"])) for each in result]

    async def _ask(self, path: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        assert self._client
        async with self._client.get(path, params=asked) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{asked['query']}: {answer}"
        result = answer["data"]["result"]
        assert isinstance(result, list)
        return result

    async def _is_ready(self) -> bool:
        assert self._process
        assert self._client
        assert self._process.returncode is None, (self._folder / "prometheus.log").read_text()
        try:
            async with self._client.get("/-/ready") as response:
                return response.ok
        except aiohttp.ClientConnectionError:
            return False


def _numbers(values: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    """A quantile of nothing is NaN."""
    return [(at, float(value)) for at, value in values if isfinite(float(value))]
