"""Restate: its server, and a Python service behind granian, each in a process of its own.

    restate_peer.py SERVER-BINARY FOLDER WORKFLOWS [PARTITIONS]

Starts and ends both. Without PARTITIONS the server has its default of them. At its start the server asks once, of the
whole internet, which version is the newest; that it gets no answer changes nothing.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import workload

HERE = Path(__file__).parent
READY_WITHIN_S = 60


def free_port():
    """A port of the loopback address that nobody listens on: a server left over would answer in place of this one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Deployment:
    """The server and the service, from entering to leaving."""

    def __init__(self, binary, folder, partitions):
        self._ports = {name: free_port() for name in ("ingress", "admin", "node", "service")}
        self._log = (Path(folder) / "restate.log").open("wb")
        addresses = {name: f"127.0.0.1:{port}" for name, port in self._ports.items()}
        environment = {
            **os.environ,
            "RESTATE_BASE_DIR": str(folder),
            "RESTATE_LOG_FILTER": "warn",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_BIND_ADDRESS": addresses["node"],
            "RESTATE_ADVERTISED_ADDRESS": f"http://{addresses['node']}",
            "RESTATE_INGRESS__BIND_ADDRESS": addresses["ingress"],
            "RESTATE_ADMIN__BIND_ADDRESS": addresses["admin"],
            "DO_NOT_TRACK": "1",
            **({"RESTATE_DEFAULT_NUM_PARTITIONS": partitions} if partitions else {}),
        }
        granian = [Path(sys.executable).with_name("granian"), "--interface", "asgi", "--http", "2"]
        granian += ["--host", "127.0.0.1", "--port", str(self._ports["service"]), "--log-level", "error"]
        self.ingress, self.admin, self.service = (
            f"http://{addresses[name]}" for name in ("ingress", "admin", "service")
        )
        self._processes = {
            "server": self._start([binary, "--no-logo"], environment),
            "service": self._start([*granian, "restate_service:app"], environment),
        }

    def _start(self, command, environment):
        return subprocess.Popen(
            command, env=environment, cwd=HERE, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def cpu_s(self):
        """CPU so far of both."""
        return {name: workload.family_cpu_s(process.pid) for name, process in self._processes.items()}

    async def until_it_works(self, attempt):
        """Try something until it works, at most for a minute. Raises TimeoutError."""
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                with contextlib.suppress(aiohttp.ClientError, RuntimeError):
                    return await attempt()
                for name, process in self._processes.items():
                    # Between two attempts: a process that has ended will not answer any more.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        status = await asyncio.to_thread(process.wait, 0.1)
                        raise SystemExit(f"the {name} ended with {status}: see {self._log.name}")

    def close(self):
        """End both with what they started, each being a process group of its own; nothing of them is needed any more.

        They are not asked: granian leaves its worker behind when it is, and both take their time.
        """
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._log.close()


async def run(deployment, workflows):
    """Register the service and give it the work."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(url, body):
            async with session.post(url, json=body) as answer:
                text = await answer.text()
                if not answer.ok:
                    raise RuntimeError(text)
                return text

        await deployment.until_it_works(lambda: post(f"{deployment.admin}/deployments", {"uri": deployment.service}))
        chain = lambda: post(f"{deployment.ingress}/Bench/chain", workload.STEPS)  # noqa: E731 - passed on as it is
        await deployment.until_it_works(chain)

        async def fan():
            steps = await post(f"{deployment.ingress}/Bench/fan", workload.FAN_OUT)
            assert int(steps) == workload.FAN_OUT, steps

        figures = await workload.measure(chain, fan, deployment.cpu_s, workflows)
        assert figures["cpu_us_per_step"]["service"] > 0, "the service used no CPU: something else answered"
        return figures


def main(binary, folder, workflows, partitions=""):
    """Start, measure, end."""
    deployment = Deployment(binary, folder, partitions)
    try:
        workload.tell(asyncio.run(run(deployment, int(workflows))))
    finally:
        deployment.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
