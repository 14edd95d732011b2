"""The app in a browser, by textual-serve: for this machine alone, and for who has the address with its key."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

from engine.client.tunnel import LOOPBACK, free_port, tunnel

NEARBY = (LOOPBACK, "localhost", "::1")
"""Names under which a browser may ask: any other is a page elsewhere that was led here."""
COOKIE = "husai"
FOREIGN = re.compile(r'<link\b[^>]*\bhref="https?:[^>]*>')
"""What textual-serve's page fetches from elsewhere, a font: this page is for this machine alone."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BrowserServer(Server):
    """Shows the app to browsers that know the key; every window is an app of its own."""

    def __init__(self, command: str, port: int) -> None:
        """Serve what a command shows.

        Args:
            command: for a shell.
            port: on loopback; 0: one that is free.

        Raises:
            EnvironmentUnfit: the port is taken.
        """
        port = free_port(port)
        super().__init__(command, LOOPBACK, port, "husai", f"http://{LOOPBACK}:{port}")
        self.key = secrets.token_urlsafe(18)

    @property
    def address(self) -> str:
        """What to open."""
        return f"{self.public_url}/?key={self.key}"

    def initialize_logging(self) -> None:
        """Log warnings alone: Textual's logging prints the values of variables."""
        logging.basicConfig(level=logging.WARNING, format="%(message)s")

    async def on_startup(self, app: web.Application) -> None:
        """Say where the app is."""
        print(f"husai is at {self.address}", flush=True)
        print(f"from another machine first: {tunnel(self.port)}", flush=True)
        print("ctrl+c ends it; all work goes on", flush=True)

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._check)
        return app

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse pages of others, and whoever does not know the key."""
        if _name(f"//{request.host}") not in NEARBY:
            raise web.HTTPForbidden(text="husai answers this machine alone\n")
        origin = request.headers.get("Origin")
        if origin and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="husai answers its own page alone\n")
        if request.path.startswith("/static/"):
            return await handler(request)
        given = request.query.get("key") or request.cookies.get(COOKIE, "")
        if not hmac.compare_digest(given.encode(), self.key.encode()):
            raise web.HTTPForbidden(text="open the address that `husai serve` printed\n")
        response = await handler(request)
        if request.path == "/":
            response.set_cookie(COOKIE, self.key, httponly=True, samesite="Strict")
            response.headers["Referrer-Policy"] = "no-referrer"
            if isinstance(response, web.Response) and response.text:
                response.text = FOREIGN.sub("", response.text)
        return response


def _name(address: str) -> str:
    return urlsplit(address).hostname or ""


def serve(command: str, port: int) -> None:
    """Show what a command shows to browsers, until ctrl+c.

    Raises:
        EnvironmentUnfit: the port is taken.
    """
    BrowserServer(command, port).serve()
