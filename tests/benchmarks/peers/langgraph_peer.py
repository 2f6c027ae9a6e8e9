"""LangGraph: a linear graph of ten nodes with a checkpointer that is asked to be durable at every step.

langgraph_peer.py DATABASE WORKFLOWS     a URL of Postgres, or the path of a SQLite file
"""

import asyncio
import contextlib
import itertools
import sys
from typing import TypedDict

import workload
from langgraph.graph import END, START, StateGraph

CONNECTIONS = 20


class State(TypedDict, total=False):
    """What the nodes pass on."""

    i: int
    ok: bool


def node(i):
    """A node that does nothing."""

    async def do_nothing(_state: State):
        return {"i": i, "ok": True}

    return do_nothing


def linear_graph():
    """Ten nodes, one after the other."""
    graph = StateGraph(State)
    names = [f"node_{i}" for i in range(workload.STEPS)]
    for i, name in enumerate(names):
        graph.add_node(name, node(i))
    for one, following in itertools.pairwise([START, *names, END]):
        graph.add_edge(one, following)
    return graph


@contextlib.asynccontextmanager
async def checkpointer(database):
    """What keeps the checkpoints."""
    if database.startswith("postgresql"):
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415 - of the database that is asked for
        from psycopg.rows import dict_row  # noqa: PLC0415 - as above
        from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415 - as above

        settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        async with AsyncConnectionPool(
            database, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False, kwargs=settings
        ) as pool:
            yield AsyncPostgresSaver(pool)
    else:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - of the database that is asked for

        async with AsyncSqliteSaver.from_conn_string(database) as saver:
            yield saver


async def run(database, workflows, database_pid=None):
    """Give it the work, in the process of which the library is a part."""
    threads = itertools.count()
    async with checkpointer(database) as saver:
        await saver.setup()
        graph = linear_graph().compile(checkpointer=saver)

        async def chain():
            thread = {"configurable": {"thread_id": f"thread-{next(threads)}"}}
            ended = await graph.ainvoke({"i": -1, "ok": False}, thread, durability="sync")
            assert ended["i"] == workload.STEPS - 1

        return await workload.measure(chain, None, lambda: workload.library_cpu_s(database_pid), workflows)


if __name__ == "__main__":
    workload.tell(asyncio.run(run(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])))
