"""Tools that handle a secret, the executor that serves them, and where the secret may not be found."""

import asyncio
import contextlib
import json

from podium.v1 import executor_service_pb2, value_pb2
from tests.integration.rig.raw_executor import raw_executor, tool

CANARY = "Kanarienvogel-5up3r-s3cr3t-9f2c"
LARGE = 100_000
"""More characters than the inline limit has bytes."""
PLAIN = '{"type": "object"}'


def tools(*, marked):
    """`vault` takes and gives the secret, `stream` streams it as its output, `plain` is not marked in any case."""
    mark = {"x-podium-sensitive": True} if marked else {}
    inner = {"type": "object", "properties": {"secret": {"type": "string", **mark}}}
    schemas = {
        "input_schema_json": json.dumps(inner),
        "output_schema_json": json.dumps({"type": ["object", "string"], **mark}),
    }
    return [tool("vault", **schemas), tool("stream", **schemas, streams_output=True), tool("plain")]


class Vault:
    """Serves the tools on one session, and remembers the arguments it got."""

    def __init__(self, caller, executor):
        self.arguments = {}
        self._caller = caller
        self._executor = executor

    async def serve(self):
        while (item := await self._executor.next()) is not None:
            if item[0] == "assign":
                await self._work(item[1])

    async def _work(self, work):
        attempt = work.attempt
        text = work.arguments_json
        if not text:
            request = executor_service_pb2.GetArgumentsRequest(attempt=attempt)
            text = (await self._caller.executors.GetArguments(request)).arguments_json
        arguments = self.arguments[attempt.step_id] = json.loads(text)
        if work.tool == "plain":
            await self._executor.succeed(attempt, "done")
            return
        for sequence in (1, 2):
            await self._executor.chunk(attempt, sequence, f"{CANARY} {sequence}\n".encode())
        if work.tool == "stream":
            await self._executor.succeed(attempt, chunk_count=2)
        elif arguments.get("bad"):
            await self._executor.succeed(attempt, value_pb2.Value(json=f'{{"{CANARY}'), chunk_count=2)
        elif arguments.get("large"):
            output = {"secret": CANARY, "filling": "x" * LARGE}
            await self._executor.succeed(attempt, await self.upload(output, attempt), chunk_count=2)
        else:
            await self._executor.succeed(attempt, {"secret": CANARY, "list": [1, 2]}, chunk_count=2)

    async def upload(self, output, attempt=None):
        """Uploads an output, and returns the value that names it."""

        async def pieces():
            data = json.dumps(output).encode()
            yield executor_service_pb2.UploadRequest(data=data[:1000], attempt=attempt)
            yield executor_service_pb2.UploadRequest(data=data[1000:])

        return value_pb2.Value(payload=(await self._caller.executors.Upload(pieces())).payload)


@contextlib.asynccontextmanager
async def vault(caller, *, marked=True):
    """Serves the tools until the block ends."""
    async with raw_executor(caller, *tools(marked=marked)) as executor, asyncio.TaskGroup() as group:
        served = Vault(caller, executor)
        serving = group.create_task(served.serve())
        try:
            yield served
        finally:
            serving.cancel()


def files_with(directory, *needles):
    """The names of the files below a folder whose bytes hold any of the needles."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [path.name for path in files if any(needle in path.read_bytes() for needle in needles)]
