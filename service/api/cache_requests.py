"""ResilienceService about the cache of results: what it did, what it holds, and the end of what it holds."""

from __future__ import annotations

import hashlib

import orjson

from podium.v1 import events_pb2
from podium.v1 import resilience_service_pb2 as pb
from service.admission.canonical_json import ROUNDED, with_whole_numbers
from service.admission.result_cache import FIGURES, Entry
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.page_tokens import page_begins_at, page_token
from service.domain.errors import InvalidInput, NotFound
from service.domain.values import SealBrokenError

_REASON_LENGTH = 1000


def statistics(parts: p.ApiParts, request: pb.GetCacheStatisticsRequest) -> pb.GetCacheStatisticsResponse:
    """What the cache did for the caller's tenant, by tool."""
    tenant, results = current_caller().tenant, parts.cache.results
    response = pb.GetCacheStatisticsResponse(
        size_limit_bytes=results.bounds.tenant_bytes,
        entries_limit=results.bounds.tenant_entries,
        remote=parts.cache.remote_place,
    )
    held: dict[str, list[int]] = {}
    for entry in results.listed(tenant):
        count = held.setdefault(entry.tool, [0, 0])
        count[0] += 1
        count[1] += entry.size_bytes
    for tool in results.tools(tenant):
        if not request.tools or tool in request.tools:
            figures = results.figures(tenant, tool)
            entries, size_bytes = held.get(tool, (0, 0))
            told = {name: getattr(figures, name) for name in FIGURES}
            response.tools.add(tool=tool, entries=entries, size_bytes=size_bytes, **told)
    return response


def listed(parts: p.ApiParts, request: pb.ListCacheEntriesRequest) -> pb.ListCacheEntriesResponse:
    """A page of the entries of the caller's tenant. What is used meanwhile moves to the first page."""
    size, of = p.page_size(request.page_size), f"cache {request.tool}"
    first = page_begins_at(of, request.page_token, first=0)
    found = [entry for entry in parts.cache.results.listed(current_caller().tenant) if request.tool in ("", entry.tool)]
    page = found[first : first + size]
    return pb.ListCacheEntriesResponse(
        entries=[_message(entry) for entry in page],
        next_page_token=page_token(of, first + size) if len(found) > first + size else "",
    )


async def invalidate(parts: p.ApiParts, request: pb.InvalidateCacheRequest) -> pb.InvalidateCacheResponse:
    """End the use of results of the caller's tenant. Raises InvalidInput, and NotFound for a tool there is not."""
    tenant, tool = current_caller().tenant, request.tool
    if len(request.reason) > _REASON_LENGTH:
        raise _refusal("reason", f"is longer than {_REASON_LENGTH} characters")
    if tool and parts.catalog.newest(tenant, tool) is None:
        raise NotFound("TOOL_NOT_FOUND", f"there is no tool {tool[:100]!r}")
    if request.arguments_json and not tool:
        raise _refusal("arguments_json", "needs a tool: name it too, or leave the arguments out")
    digests = _arguments_digests(parts, tenant, tool, request.arguments_json) if request.arguments_json else [b""]
    ended = 0
    for digest in digests:
        count = len(parts.cache.results.matching(tenant, tool, digest))
        event = events_pb2.CacheInvalidated(tool=tool, arguments_digest=digest, entries=count, reason=request.reason)
        await parts.cache.invalidations.invalidate(tenant, event, p.cause_of_request())
        ended += count
    return pb.InvalidateCacheResponse(entries=ended)


def _arguments_digests(parts: p.ApiParts, tenant: str, tool: str, arguments_json: str) -> list[bytes]:
    """The digests of arguments, as admission makes them of those that a tool is given.

    Where an argument came from a sealed output the digest is keyed, and where the same was given openly it is not.
    """
    problem = parts.bounds.problem(arguments_json)
    if problem:
        raise _refusal("arguments_json", problem)
    try:
        arguments = orjson.loads(arguments_json)
    except ValueError:
        raise _refusal("arguments_json", "is not valid JSON") from None
    if not isinstance(arguments, dict):
        raise _refusal("arguments_json", "must be an object, for example {}")
    canonical = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
    if ROUNDED in canonical:
        canonical = with_whole_numbers(canonical, arguments_json)
    newest = parts.catalog.newest(tenant, tool)
    if newest is not None and parts.sensitivity.of_input(tenant, tool, newest.version):
        # A digest without a key would let anybody who reads the log try out what was sealed.
        return [parts.sealing.of(tenant).keyed_digest(canonical)]
    plain = hashlib.sha256(canonical).digest()
    try:
        return [plain, parts.sealing.of(tenant).keyed_digest(canonical)]
    except SealBrokenError:
        # Without a data key nothing of the tenant was ever sealed.
        return [plain]


def _refusal(field: str, problem: str) -> InvalidInput:
    return InvalidInput("INVALID_INVALIDATION", f"{field} {problem}", violations=[(field, problem)])


def _message(entry: Entry) -> pb.CacheEntry:
    return pb.CacheEntry(
        key=entry.key,
        tool=entry.tool,
        tool_version=entry.tool_version,
        arguments_digest=entry.arguments_digest,
        subject=entry.subject,
        source_workflow_id=entry.source.workflow_id,
        source_step_id=entry.source.step_id,
        stored_at_us=entry.stored_at_us,
        fresh_until_us=entry.fresh_until_us,
        stale_until_us=entry.stale_until_us,
        hits=entry.hits,
        used_at_us=entry.used_at_us,
        size_bytes=entry.size_bytes,
    )
