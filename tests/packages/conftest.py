"""The wheel and the Debian package, each built once a test run."""

from pathlib import Path

import pytest

from tests.support.packages import built


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", "vochi_agent-*.whl", tmp_path_factory)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("deb", "vochi-agent_*.deb", tmp_path_factory)
