"""Pages on loopback: ports of this machine, and how another machine reaches them."""

from __future__ import annotations

import socket

from engine.errors import EnvironmentUnfit

LOOPBACK = "127.0.0.1"
"""Neither the app's page nor TensorBoard is for others: who comes from elsewhere comes by ssh."""


def free_port(port: int) -> int:
    """Return a port of loopback, for 0 any that is free; raise EnvironmentUnfit if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            raise EnvironmentUnfit(f"port {port} is taken; another one by --port, or 0") from None
        return int(probe.getsockname()[1])


def tunnel(port: int) -> str:
    """Return what brings a port of this machine to another one."""
    return f"ssh -L {port}:{LOOPBACK}:{port} {socket.gethostname()}"
