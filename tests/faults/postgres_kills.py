"""SIGKILL of a writer on Postgres, thousands of times; what it sent may still arrive when the next has taken over."""

import asyncio

from tests.faults.store_kills import run_on
from tests.postgres import PostgresServer

TARGETS = {"make": 30, "faults": 5_000, "nightly": 500}


class Databases:
    """Databases of one server."""

    points = ("committing", "committed", "acknowledged")
    life_s = 0.12
    """How long a writer lives at most that does not end itself: it takes a while to connect."""

    def __init__(self, server):
        self._server = server

    def make(self):
        return asyncio.run(self._server.create_database())

    def drop(self, database):
        asyncio.run(self._server.drop_database(database))


def run(scale, seed, progress):
    server = PostgresServer(fsync=True)
    try:
        return run_on(Databases(server), "postgres_kills", TARGETS[scale], seed, progress)
    finally:
        server.close()
