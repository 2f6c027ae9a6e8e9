"""The cache against a naive reference that knows no keys, no order and no bounds: in memory, and on a real server.

The reference is a list of results with all that they depend on, looked through from its end.
"""

import asyncio
import dataclasses

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import service.admission.cache
from service.admission.result_cache import CacheBounds
from service.admission.verdicts import Allowed, Wait
from service.domain.caching import call_key
from tests.unit.cache.calls import CachedCalls, answer_of, cached_tool, step_of
from tests.unit.cache.remote import FORGETFUL, RemoteCalls
from tests.valkey import valkey_for_tests

WIDE = CacheBounds(tenant_entries=10**6, tenant_bytes=10**9, entries=10**6, size_bytes=10**9)
TOOLS = (
    # So long that the server's own time, which is the real one, ends nothing.
    cached_tool("own", ttl_ms=1_000_000, stale_ms=500_000),
    cached_tool("shared", ttl_ms=2_000_000, shared=True),
)
CALLS = st.fixed_dictionaries(
    {
        "value": st.sampled_from("12"),
        "tenant": st.sampled_from(["t1", "t10"]),
        "subject": st.sampled_from(["ana", "bob"]),
        "on_behalf_of": st.sampled_from(["", "eve"]),
        "tool": st.sampled_from(TOOLS),
        "tool_version": st.sampled_from([1, 2]),
    }
)


class Reference:
    """What must be found."""

    def __init__(self):
        self.results = []

    def identity(self, call, revision):
        shared = call["tool"].caching.shared
        who = () if shared else (call["subject"], call["on_behalf_of"])
        return (call["tenant"], call["tool"].name, call["tool_version"], call["value"], revision, who)

    def found(self, call, revision, now_ms):
        for identity, output, until_ms in reversed(self.results):
            if identity == self.identity(call, revision):
                return output if now_ms < until_ms else None
        return None

    def keep(self, call, revision, output, until_ms):
        self.results.append((self.identity(call, revision), output, until_ms))

    def forget(self, tenant, tool, value):
        self.results = [
            each
            for each in self.results
            if not (each[0][0] == tenant and tool in ("", each[0][1]) and value in ("", each[0][3]))
        ]


class CacheMachine(RuleBasedStateMachine):
    """Whole calls, one after the other."""

    def __init__(self):
        super().__init__()
        self.reference = Reference()
        self.cached = self.make()
        self.outputs = 0

    def make(self):
        return CachedCalls(WIDE)

    def decide(self, request):
        """What becomes of a call in the end."""
        verdict = self.cached.ask(request)
        assert not isinstance(verdict, Wait)
        return verdict

    def succeed(self, request, output, ttl_ms):
        self.cached.succeed(request, output, cache_ttl_ms=ttl_ms)

    @property
    def revision(self):
        return self.cached.policy.revision

    @property
    def now_ms(self):
        return self.cached.now_us // 1_000

    @rule(call=CALLS, ttl_ms=st.sampled_from([None, None, 0, 300_000, 3_000_000]), fails=st.booleans())
    def call(self, call, ttl_ms, fails):
        request = self.cached.request(**call)
        verdict = self.decide(request)
        expected = self.reference.found(call, self.revision, self.now_ms)
        assert answer_of(verdict) == expected
        if expected is not None:
            self.cached.end(request)
            return
        assert isinstance(verdict, Allowed)
        self.cached.guard.started(request, self.cached.now_us)
        if fails:
            self.cached.fail(request)
            self.cached.end(request)
            return
        self.outputs += 1
        output = str(self.outputs)
        self.succeed(request, output, ttl_ms)
        lifetime_ms = call["tool"].caching.ttl_ms if ttl_ms is None else ttl_ms
        if lifetime_ms:
            self.reference.keep(call, self.revision, output, self.now_ms + lifetime_ms)

    @rule(milliseconds=st.sampled_from([1, 299_999, 300_000, 1_000_000, 5_000_000]))
    def time_passes(self, milliseconds):
        self.cached.tick(milliseconds)

    @rule(call=CALLS, what=st.sampled_from(["arguments", "tool", "tenant"]))
    def invalidate(self, call, what):
        tool = "" if what == "tenant" else call["tool"].name
        digest = self.cached.request(**call).arguments_digest if what == "arguments" else b""
        self.cached.invalidate(call["tenant"], tool, digest)
        self.reference.forget(call["tenant"], tool, call["value"] if what == "arguments" else "")

    @rule()
    def policy_changes(self):
        self.cached.policy = dataclasses.replace(self.cached.policy, revision=self.revision + 1)


class RemoteCacheMachine(CacheMachine):
    """The same with a server and a memory that holds one result; and the service may be started anew."""

    runner = None
    url = ""

    @initialize()
    def empty_the_server(self):
        self.runner.run(self.cached.remote._cache.client.flushall())  # noqa: SLF001 - as the start of a test

    def make(self):
        return self.runner.run(self.made(RemoteCalls))

    async def made(self, kind):
        return kind(self.url, bounds=FORGETFUL, timeout_ms=5_000)

    def decide(self, request):
        return self.runner.run(self.decided(request))

    async def decided(self, request):
        verdict = self.cached.ask(request)
        if isinstance(verdict, Wait):
            verdict.join()
            await self.cached.settled()
            assert self.cached.woken.pop() == step_of(request)
            verdict = self.cached.ask(request)
        return verdict

    def succeed(self, request, output, ttl_ms):
        self.runner.run(self.succeeded(request, output, ttl_ms))

    async def succeeded(self, request, output, ttl_ms):
        self.cached.succeed(request, output, cache_ttl_ms=ttl_ms)
        await self.cached.settled()

    @rule()
    def the_service_starts_anew(self):
        before = self.cached
        self.runner.run(before.close())
        self.cached = self.make()
        for name in ("now_us", "policy", "position", "invalidations"):
            setattr(self.cached, name, getattr(before, name))

    def teardown(self):
        self.runner.run(self.cached.close())


def try_out(machine, examples, steps=30):
    checked = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=checked)


@pytest.fixture(scope="module")
def on_a_server():
    """The machine, with a server that is there and a loop to talk to it on."""
    with valkey_for_tests() as server, asyncio.Runner() as runner:
        yield type("OnAServer", (RemoteCacheMachine,), {"runner": runner, "url": server.url})


def test_the_cache_in_memory_finds_what_the_reference_finds():
    try_out(CacheMachine, 40)


def test_the_cache_on_a_server_finds_what_the_reference_finds(on_a_server):
    try_out(on_a_server, 15)


def without_tenant(_tenant, *rest):
    return call_key("", *rest)


def without_identity(tenant, _principal, *rest):
    return call_key(tenant, None, *rest)


def without_revision(tenant, principal, _revision, *rest):
    return call_key(tenant, principal, 0, *rest)


ONE = {"value": "1", "tenant": "t1", "subject": "ana", "on_behalf_of": "", "tool": TOOLS[0], "tool_version": 1}
OTHERS = {without_tenant: {"tenant": "t10"}, without_identity: {"subject": "bob"}, without_revision: {}}


def crossed(machine, forgetful_key):
    """Makes a call, another that differs in what the key leaves out, and the first again."""
    machine.call(ONE, None, False)
    if forgetful_key is without_revision:
        machine.policy_changes()
    machine.call(ONE | OTHERS[forgetful_key], None, False)
    machine.call(ONE, None, False)


@pytest.mark.parametrize("forgetful_key", OTHERS)
def test_a_key_that_leaves_something_out_is_found_out_in_memory(forgetful_key, monkeypatch):
    crossed(CacheMachine(), forgetful_key)
    monkeypatch.setattr(service.admission.cache, "call_key", forgetful_key)
    with pytest.raises(AssertionError):
        crossed(CacheMachine(), forgetful_key)


# The names of entries on a server begin with their tenant as well.
@pytest.mark.parametrize("forgetful_key", [without_identity, without_revision])
def test_a_key_that_leaves_something_out_is_found_out_on_a_server(forgetful_key, on_a_server, monkeypatch):
    monkeypatch.setattr(service.admission.cache, "call_key", forgetful_key)
    machine = on_a_server()
    machine.empty_the_server()
    with pytest.raises(AssertionError):
        crossed(machine, forgetful_key)
    machine.teardown()
