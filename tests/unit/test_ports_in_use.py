"""Who holds a port, asked of the real kernel."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from vochi_agent.errors import PortTaken
from vochi_agent.ports_in_use import holder, port_taken


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_holder_is_named_with_its_pid(address: str) -> None:
    with socket.create_server((address, 0)) as listener:
        assert holder("127.0.0.1", listener.getsockname()[1]).endswith(f"(pid {os.getpid()})")


def test_a_listener_on_ipv6_is_found_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert holder("::1", listener.getsockname()[1]).endswith(f"(pid {os.getpid()})")


def test_another_process_is_found() -> None:
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout
            assert holder("127.0.0.1", int(other.stdout.readline())).endswith(f"(pid {other.pid})")
        finally:
            other.kill()


def test_a_free_port_has_no_named_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert holder("127.0.0.1", port) == "another program"


def test_a_failed_bind_becomes_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.socket() as second:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            second.bind(("127.0.0.1", port))

        problem = port_taken("FastAGI", "127.0.0.1", port, caught.value)

    assert isinstance(problem, PortTaken)
    assert str(problem).startswith(f"FastAGI cannot listen on 127.0.0.1:{port}: ")
    assert f"(pid {os.getpid()}) listens there already" in str(problem)


def test_other_reasons_of_a_failed_bind_are_said() -> None:
    nowhere = port_taken("FastAGI", "192.0.2.1", 4577, OSError(errno.EADDRNOTAVAIL, "x"))
    low = port_taken("The HTTP server", "::1", 80, OSError(errno.EACCES, "x"))

    assert str(nowhere) == "FastAGI cannot listen on 192.0.2.1:4577: this machine has no address 192.0.2.1"
    assert str(low).startswith("The HTTP server cannot listen on [::1]:80: ports below 1024 need a right")
