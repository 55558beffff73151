"""A server with routes of a test's own."""

from aiohttp import web

__all__ = ["served"]


class served:  # noqa: N801 - reads as the verb it is
    """A server with these routes on a port of its own; entering gives its URL."""

    def __init__(self, routes: list[web.RouteDef]) -> None:
        app = web.Application()
        app.add_routes(routes)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
