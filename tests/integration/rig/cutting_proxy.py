"""A TCP proxy on 127.0.0.1 that a test can cut: a network that fails."""

import asyncio
import contextlib


class CuttingProxy:
    """Passes bytes both ways between whoever connects and the service, until it is cut."""

    def __init__(self, target_port):
        self._target_port = target_port
        self._near = set()
        self._far = set()
        self._let_through = asyncio.Event()
        self._let_through.set()
        self.connections = 0
        self.address = ""

    async def meet(self, reader, writer):
        """Serves one connection."""
        await self._let_through.wait()
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._near.add(writer)
        self._far.add(far_writer)
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            writer.transport.abort()
            self._near.discard(writer)

    async def _pass(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.close()

    def cut(self):
        """Breaks every connection, at both ends."""
        for writer in [*self._near, *self._far]:
            writer.transport.abort()
        self._far.clear()

    def cut_near(self):
        """Breaks every connection for those who made it. The service does not learn of it: its end stays open."""
        for writer in list(self._near):
            writer.transport.abort()

    def hold(self):
        """Lets nobody through until `release`."""
        self._let_through.clear()

    def release(self):
        """Lets those through who wait, and everybody after them."""
        self._let_through.set()


@contextlib.asynccontextmanager
async def cutting_proxy(port):
    """Runs a proxy in front of a port of this machine."""
    proxy = CuttingProxy(port)
    server = await asyncio.start_server(proxy.meet, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        proxy.release()
        server.close()
        proxy.cut()
