"""The app in a browser: on loopback, for who knows the key, and gone when the window is closed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from engine.errors import EnvironmentUnfit
from husai_tui.serving import BrowserServer
from scripts.pseudo_terminal import Screen


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "husai_tui", "serve", "--port", "0", "--no-engine"]
    process = subprocess.Popen(
        [*command, "--runs", str(tmp_path / "runs")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    with process.stdout:
        address = process.stdout.readline().split()[-1]
        assert "ssh -L" in process.stdout.readline()
        _wait_for(urlsplit(address).port)
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def _wait_for(port: int | None) -> None:
    """Wait until somebody listens: the address is told a moment before."""
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port or 0)) == 0 or time.monotonic() > deadline:
                return
        time.sleep(0.05)


async def test_a_page_with_the_key_shows_the_app(served: str) -> None:
    root, _, key = served.partition("/?key=")
    assert root.startswith("http://127.0.0.1:")
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        for path in ("/", "/ws", "/?key=wrong"):
            assert (await browser.get(root + path)).status == 403
        elsewhere = {"Host": "husai.example.com"}
        assert (await browser.get(served, headers=elsewhere)).status == 403
        page = await (await browser.get(served)).text()
        found = re.search(r'data-session-websocket-url="([^"]+)"', page)
        assert found, page[-800:]
        assert "<html" in page
        assert not re.search(r'(?:href|src)="https?://(?!127\.0\.0\.1)', page)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await browser.ws_connect(found[1], origin="http://evil.example.com")
        screen = Screen(100, 30)
        async with browser.ws_connect(f"{found[1]}?width=100&height=30", origin=root) as opened:
            while "the queue is empty" not in screen.text:
                message = await opened.receive(timeout=20)
                assert message.type is aiohttp.WSMsgType.BINARY, message
                screen.feed(message.data.decode())
            await opened.send_json(["stdin", "?"])
            while "Keys: Runs" not in screen.text:
                screen.feed((await opened.receive(timeout=10)).data.decode())
    assert key not in page


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentUnfit, match="is taken"):
            BrowserServer("true", taken.getsockname()[1])
