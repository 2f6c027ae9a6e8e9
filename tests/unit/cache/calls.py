"""Calls of cached tools, made of a guard as the engine makes them: asked, started, ended, durable."""

from podium.v1 import definition_pb2, events_pb2, policy_pb2, value_pb2
from service.admission.cache import CacheGuard
from service.admission.guards import AttemptEnd
from service.admission.result_cache import CacheBounds, ResultCache
from service.admission.verdicts import Allowed, Answered, Wait
from service.domain.permissions import Policy
from service.engine.cache_invalidations import CacheInvalidations
from tests.unit.admission.calls import a_request, a_tool, an_authority

BOUNDS = CacheBounds(tenant_entries=1_000, tenant_bytes=10_000_000, entries=1_000, size_bytes=10_000_000)
MS = 1_000


def cached_tool(name="quote", ttl_ms=1_000, stale_ms=0, shared=False, **fields):
    caching = definition_pb2.Caching(ttl_ms=ttl_ms, stale_ms=stale_ms, shared=shared)
    return a_tool(name, **{"read_only": True, "caching": caching, **fields})


def rule(name="ours", tools=(), **fields):
    return policy_pb2.CacheRule(id=name, tools=tools, **fields)


class CachedCalls:
    """A guard, a clock, a policy for all tenants and whoever is asked about again."""

    def __init__(self, bounds=BOUNDS, is_readable=lambda tenant, value: True):
        self.now_us = 1_000_000_000
        self.policy = Policy(name="p", revision=1, roles={})
        self.invalidations = CacheInvalidations()
        self.position = 0
        self.results = ResultCache(bounds)
        self.guard = CacheGuard(
            lambda _: self.policy,
            self.results,
            generation_of=self._generation_of,
            is_readable=is_readable,
        )
        self.woken = []
        self.guard.flights.wake = self.woken.append
        self._numbers = 0

    def _generation_of(self, *of):
        return self.invalidations.generation_of(*of)

    def request(self, value="1", tool=None, subject="ana", on_behalf_of="", **more):
        """A call by a step of its own."""
        self._numbers += 1
        fields = {
            "arguments": f'{{"value": {value}}}',
            "tool": tool or cached_tool(),
            "authority": an_authority("admin", subject=subject, on_behalf_of=on_behalf_of),
            "workflow_id": f"wf_{self._numbers}",
            **more,
        }
        return a_request(**fields)

    def ask(self, request):
        return self.guard.check(request, self.now_us)

    def follow(self, request):
        """Asks for a call that must wait, and lets it stand in line."""
        verdict = self.ask(request)
        assert isinstance(verdict, Wait)
        return verdict.join()

    def start(self, request):
        assert isinstance(self.ask(request), Allowed)
        self.guard.started(request, self.now_us)
        return request

    def end(self, request, outcome=None):
        self.guard.ended(AttemptEnd(step_of(request), self.now_us, 1, request.tool.name, outcome))

    def succeed(self, request, output='"out"', *, durable=True, **fields):
        """The call's attempt succeeds, durably unless it is said otherwise."""
        outcome = events_pb2.StepSucceeded(attempt=1, output=value_pb2.Value(json=output), **fields)
        self.end(request, outcome)
        # The engine tells a second time that nothing of the step runs any more.
        self.end(request)
        if durable:
            self.commit(request, outcome)
        return outcome

    def commit(self, request, outcome):
        self.position += 1
        self.guard.durable(step_of(request), outcome, self.position, self.now_us)

    def fail(self, request, reason="BROKEN"):
        self.end(request, events_pb2.AttemptFailed(attempt=1, failure=value_pb2.Failure(reason=reason)))

    def produce(self, value="1", output='"out"', *, ttl_ms=None, **more):
        """A whole call that calls the tool."""
        request = self.start(self.request(value, **more))
        self.succeed(request, output, cache_ttl_ms=ttl_ms)
        return request

    def invalidate(self, tenant="default", tool="", digest=b""):
        """An invalidation that is durable."""
        self.position += 1
        event = events_pb2.CacheInvalidated(tool=tool, arguments_digest=digest)
        self.invalidations.fold(tenant, event, self.position)
        self.guard.invalidate(tenant, tool, digest)

    def answer(self, value="1", **more):
        """The output that a call is answered with from the cache; None: it would call the tool."""
        return answer_of(self.ask(self.request(value, **more)))

    def tick(self, milliseconds):
        self.now_us += milliseconds * MS

    def figures(self, tool="quote", tenant="default"):
        figures = self.results.figures(tenant, tool)
        return {name: getattr(figures, name) for name in figures.__slots__ if getattr(figures, name)}


def answer_of(verdict):
    return verdict.value.json if isinstance(verdict, Answered) else None


def step_of(request):
    return (request.tenant, request.workflow_id, request.step_id)
