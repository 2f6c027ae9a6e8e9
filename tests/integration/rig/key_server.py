"""An issuer's endpoint for its keys, over real HTTP, that a test can break in every way an endpoint breaks.

It breaks alike for others than who asks for keys: `expects` is how their requests begin.
"""

import asyncio
import contextlib
import json


class KeyServer:
    """Answers every request with `keys`, or as `broken` says."""

    def __init__(self, expects):
        self._expects = expects
        self.keys = []
        self.asked = 0
        self.broken = None
        self.url = ""
        self._open = set()

    async def meet(self, reader, writer):
        """Serves one connection."""
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await reader.readuntil(b"\r\n\r\n")
                assert request.startswith(self._expects), request
                self.asked += 1
                await (self.broken or self._answer)(writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, writer):
        await self.send(writer, json.dumps({"keys": self.keys}).encode())

    @staticmethod
    async def send(writer, body, status="200 OK", **headers):
        """Sends an answer as a whole."""
        head = {"Content-Length": len(body), "Content-Type": "application/json", **headers}
        lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in head.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    async def huge(self, writer):
        """Answers with more than anybody wants."""
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async def slow(self, writer):
        """Answers byte by byte, and never to the end."""
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.Event().wait()

    async def silent(self, writer):
        """Never answers."""
        await asyncio.Event().wait()

    async def failing(self, writer):
        """Answers that it cannot."""
        await self.send(writer, b"{}", "503 Service Unavailable")

    async def elsewhere(self, writer):
        """Sends whoever asks to itself again, where the keys would be."""
        self.broken = None
        await self.send(writer, b"", "302 Found", Location=self.url)


@contextlib.asynccontextmanager
async def key_server(expects=b"GET /keys?a=b HTTP/1.1\r\n"):
    """Runs an endpoint on a port of this machine."""
    served = KeyServer(expects)
    server = await asyncio.start_server(served.meet, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys?a=b"
    try:
        yield served
    finally:
        server.close()
        for writer in list(served._open):  # noqa: SLF001 - its own
            writer.transport.abort()
