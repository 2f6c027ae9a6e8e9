"""(a) to (e), (j) and (k): the loads of `podium bench` on deployments of our own, one for each database.

Rounds of the databases alternate, so that a machine that becomes slower does so for both. Every round is checked
against the log before its figures count, and each log is verified as a whole at the end.
"""

import asyncio
import contextlib
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass, field

import grpc.aio

from podium.v1 import access_service_pb2, access_service_pb2_grpc, policy_pb2
from service.cli.bench.load import percentile
from service.cli.bench.measures import MEASURES
from service.cli.bench.target import Round
from tests.benchmarks import timed_admission
from tests.benchmarks.honesty import check_log, check_round, recorded
from tests.benchmarks.measurement import NO_GOAL, Goal, measurement
from tests.benchmarks.rig import Cpu, Rig, database, deployed, echo_server

LETTERS = ("a", "a500", "b", "c", "d", "e", "j", "k")

_THROUGHPUT = Goal("2 × tuned Restate; 0.35 × the bare prototype: make bench-peers")
_ADMISSION = Goal("at most 25 µs", at_most=25)
_GOALS = {
    ("a", "steps_per_s"): _THROUGHPUT,
    ("a500", "p99_over_mean"): Goal("at most 2 × the mean", at_most=2),
    ("b", "p50", "sqlite"): Goal("0.6 × tuned Restate: make bench-peers"),
    ("b", "p50", "postgres"): Goal("0.7 × tuned Restate: make bench-peers"),
    ("c", "p50"): Goal("0.5 × tuned Restate: make bench-peers"),
    ("e", "mb_per_s", "sqlite"): Goal("at least 100 MB/s", at_least=100),
    ("e", "mb_per_s", "postgres"): Goal("at least 60 MB/s", at_least=60),
    ("e", "first_chunk_ms"): Goal("at most 5 ms", at_most=5),
    ("j", "idle_cost_percent"): Goal("at most 15 %", at_most=15),
}
_OVER_ECHO = Goal("at most 1.5 ms over the echo", at_most=1.5)
_AS_A = Goal("as a: at least 0.9 of it", at_least=0.9)
_CPU = Goal("0.45 × tuned Restate: make bench-peers")
_NOTES = {
    ("a500", "p99_over_mean"): "a step: from the recorded end of the one before to its own",
    ("e", "first_chunk_ms"): "from the tool to a watcher that follows already",
    ("j", "busy_cost_percent"): "every workflow watched from its start to its end",
}


@dataclass(slots=True)
class Deployment:
    """A rig, and what its rounds found."""

    rig: Rig
    echo_address: str
    position: int = 0
    """Up to where its log has been read."""
    rounds: dict[str, list[Round]] = field(default_factory=lambda: defaultdict(list))
    cpu_of_a: list[Cpu] = field(default_factory=list)
    echo_ms: list[float] = field(default_factory=list)

    def round(self, letter, *, quick):
        """Put a load on it once, and keep what was found if the log holds it. Raises DishonestRunError."""
        cpu, flushes = self.rig.cpu(), self.rig.flushes()
        found = self.rig.load(letter, quick=quick)
        cpu, flushes = self.rig.cpu() - cpu, None if flushes is None else self.rig.flushes() - flushes
        log = recorded(self.rig.database.url, self.position)
        self.position = log.last_position
        check_round(log, found, flushes)
        self.rounds[letter].append(found)
        if letter == "a":
            self.cpu_of_a.append(cpu)
        if letter == "d":
            echo = self.rig.load("echo", address=self.echo_address)
            self.echo_ms.append(percentile(echo.latencies_ms, 0.5))


def measure(options, letters=LETTERS):
    """Measure, letter by letter. Raises DishonestRunError when a log does not hold what it should."""
    with contextlib.ExitStack() as stack:
        echo_address = stack.enter_context(echo_server())
        deployments = [_warm(stack, store, echo_address) for store in options.stores]
        for letter in LETTERS:
            # (a500) is compared with (a), and (k) is read from its rounds.
            if letter != "k" and (letter in letters or (letter == "a" and {"a500", "k"} & set(letters))):
                _rounds(letter, deployments, options)
            if letter in letters:
                for each in deployments:
                    yield from _FIGURES.get(letter, _figures)(letter, each)
        for each in deployments:
            events = check_log(each.rig.database)
            options.tell(f"{each.rig.store}: the log is as it was written, all {events:,} events of it")
    if "k" in letters:
        yield _admission(options)


def _rounds(letter, deployments, options):
    options.tell(f"{letter}: {MEASURES[letter].title} …")
    for _ in range(options.rounds):
        for each in deployments:
            each.round(letter, quick=options.quick)


def _warm(stack, store, echo_address):
    """A deployment on an empty database, after a first load that no round counts."""
    rig = stack.enter_context(deployed(stack.enter_context(database(store))))
    rig.load("a", quick=True)
    return Deployment(rig, echo_address, recorded(rig.database.url).last_position)


def _figures(letter, on):
    for figure in MEASURES[letter].figures:
        values = [figure.of(each) for each in on.rounds[letter]]
        goal = _GOALS.get((letter, figure.name, on.rig.store), _GOALS.get((letter, figure.name), NO_GOAL))
        yield _measured(f"{letter} {figure.name}", on, values, figure.unit, goal, _NOTES.get((letter, figure.name), ""))


def _at_once_figures(letter, on):
    yield from _figures(letter, on)
    rates = [found.figures["steps_per_s"] for found in on.rounds[letter]]
    of_a = statistics.median(found.figures["steps_per_s"] for found in on.rounds["a"])
    yield _measured(f"{letter} over a", on, [rate / of_a for rate in rates], "×", _AS_A)


def _call_figures(letter, on):
    yield from _figures(letter, on)
    calls_ms = [percentile(found.latencies_ms, 0.5) for found in on.rounds[letter]]
    over = [call - echo for call, echo in zip(calls_ms, on.echo_ms, strict=True)]
    notes = f"an echo over bare grpc.aio takes {statistics.median(on.echo_ms):.2f} ms"
    yield _measured(f"{letter} over echo", on, over, "ms", _OVER_ECHO, notes)


def _cpu_figures(letter, on):
    steps = on.rounds["a"][0].steps

    def row(name, seconds, goal=NO_GOAL):
        return _measured(f"{letter} {name}", on, [each / steps * 1e6 for each in seconds], "µs/step", goal)

    yield row("cpu", [cpu.total_s for cpu in on.cpu_of_a], _CPU)
    yield row("service", [cpu.service_s for cpu in on.cpu_of_a])
    yield row("executor", [cpu.executor_s for cpu in on.cpu_of_a])
    if on.rig.database.server_pid is not None:
        yield row("database", [cpu.database_s for cpu in on.cpu_of_a])


_FIGURES = {"a500": _at_once_figures, "d": _call_figures, "k": _cpu_figures}


def _admission(options):
    """(k) What admission costs a step, on a service of its own, because looking at the clock costs as well."""
    options.tell("k: admission …")
    values = []
    for _ in range(options.rounds):
        with database("sqlite") as on:
            with deployed(on, service="tests.benchmarks.timed_admission") as rig:
                asyncio.run(apply_a_policy(rig))
                rig.load("a", quick=options.quick)
            found = json.loads((on.folder / timed_admission.RESULT).read_text())
        values.append(found["cpu_s"] * 1e6)
    notes = "addresses, revocations, a policy with a rule, schema, sanitizers, a rate limit, the arguments' digest"
    return measurement("k admission", "", values, "µs/step", goal=_ADMISSION, notes=notes)


async def apply_a_policy(rig):
    """Put a rule and a rate limit that never bind into the policy of the deployment's tenant."""
    metadata = (("authorization", f"Bearer {rig.token}"),)
    async with grpc.aio.insecure_channel(rig.address) as channel:
        access = access_service_pb2_grpc.AccessServiceStub(channel)
        found = await access.GetPolicy(access_service_pb2.GetPolicyRequest(), metadata=metadata)
        policy = found.policy.policy
        policy.rules.add(id="nobody", effect=policy_pb2.EFFECT_FORBID, tools=["*"], roles=["nobody"])
        by = [policy_pb2.LIMIT_KEY_SUBJECT, policy_pb2.LIMIT_KEY_TOOL]
        policy.limits.add(id="many", per=by, count=1_000_000, period_ms=1_000)
        await access.ApplyPolicy(access_service_pb2.ApplyPolicyRequest(policy=policy), metadata=metadata)


def _measured(name, on, values, unit, goal, notes=""):
    return measurement(name, on.rig.store, values, unit, goal=goal, versions=on.rig.versions, notes=notes)
