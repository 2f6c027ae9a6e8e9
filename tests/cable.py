"""The cable between a store and its Postgres, which a test may cut, hold or plug out at the worst moment.

It understands just enough of the protocol to tell a statement's execution from what surrounds it.
"""

import asyncio
import contextlib
from urllib.parse import urlsplit

_SSL_REQUEST = 80_877_103
_BIND = b"B"
# What is sent at once: synchronisation, flush, a simple query, a password, the end.
_ENDS = b"SHQpX"


class Held:
    """A statement that was sent, whose client is gone, and which the server has not received yet."""

    def __init__(self, link, data):
        self._link = link
        self._data = data

    async def release(self):
        """Let the server execute it now, and wait until it has."""
        self._link.answered.clear()
        self._link.to_server.write(self._data)
        await self._link.answered.wait()
        self._link.drop()


class _Link:
    """One connection through the cable."""

    def __init__(self, cable, from_client, to_client, from_server, to_server):
        self.cable = cable
        self.from_client, self.to_client = from_client, to_client
        self.from_server, self.to_server = from_server, to_server
        self.name = b""
        self.answered = asyncio.Event()
        self.loses_reply = False

    def drop(self):
        for writer in (self.to_client, self.to_server):
            writer.transport.abort()

    async def upstream(self):
        """From the client to the server."""
        await self._start_up()
        sent = b""
        while True:
            header = await self.from_client.readexactly(5)
            sent += header + await self.from_client.readexactly(int.from_bytes(header[1:], "big") - 4)
            if header[:1] not in _ENDS:
                continue
            if sent[:1] == _BIND and await self.cable.interfere(self, sent):
                return
            self.to_server.write(sent)
            sent = b""

    async def _start_up(self):
        while True:
            header = await self.from_client.readexactly(8)
            rest = await self.from_client.readexactly(int.from_bytes(header[:4], "big") - 8)
            self.to_server.write(header + rest)
            if int.from_bytes(header[4:], "big") != _SSL_REQUEST:
                self.name = rest
                return

    async def downstream(self):
        """From the server to the client."""
        while data := await self.from_server.read(1 << 16):
            self.answered.set()
            if self.loses_reply:
                self.drop()
            else:
                self.to_client.write(data)
        # The server has closed; whoever waits for that hears it too.
        self.answered.set()
        self.drop()


class Cable:
    """Carries the connections of stores to a server. `async with Cable(url) as cable: ... cable.url`."""

    def __init__(self, url):
        self._target = urlsplit(url)
        self._links = set()
        self._plan = None
        self._of = b""
        self._planned = None
        self.is_plugged = True
        self.url = ""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = f"{self._target.username}:{self._target.password or ''}@" if self._target.username else ""
        self.url = f"postgresql://{user}127.0.0.1:{port}{self._target.path}"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        self.cut()

    def cut(self):
        """Break every connection."""
        for link in list(self._links):
            link.drop()

    def unplug(self):
        """Break every connection, and refuse new ones until `plug`."""
        self.is_plugged = False
        self.cut()

    def plug(self):
        """Let connections through again."""
        self.is_plugged = True

    def lose_next_reply(self):
        """Let the writer's next statement take effect, and cut instead of answering. A future of when that was."""
        return self._plan_for(self._lose)

    def hold_next_statement(self):
        """Cut the writer's connection instead of delivering its next statement. A future of the Held."""
        return self._plan_for(self._hold)

    def swallow_next_statement(self, of=b"podium writer"):
        """Neither deliver the next statement of a kind of connection nor say anything. A future of the Held."""
        return self._plan_for(self._swallow, of)

    def _plan_for(self, plan, of=b"podium writer"):
        self._plan, self._of, self._planned = plan, of, asyncio.get_running_loop().create_future()
        return self._planned

    async def interfere(self, link, data):
        """Do what is planned for a statement; whether it was kept from the server."""
        if self._plan is None or self._of not in link.name:
            return False
        plan, self._plan = self._plan, None
        return plan(link, data)

    def _lose(self, link, _data):
        link.loses_reply = True
        self._planned.set_result(None)
        return False

    def _hold(self, link, data):
        link.to_client.transport.abort()
        self._planned.set_result(Held(link, data))
        return True

    def _swallow(self, link, data):
        self._planned.set_result(Held(link, data))
        return True

    async def _carry(self, from_client, to_client):
        if not self.is_plugged:
            to_client.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            to_client.transport.abort()
            return
        link = _Link(self, from_client, to_client, from_server, to_server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                down = both.create_task(self._pump(link.downstream()))
                kept = await self._pump(link.upstream())
                if not kept:
                    link.drop()
                await down
        finally:
            link.drop()
            self._links.discard(link)

    @staticmethod
    async def _pump(direction):
        """Whether it ended because a statement was kept, and not because a side is gone."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await direction
            return True
        return False
