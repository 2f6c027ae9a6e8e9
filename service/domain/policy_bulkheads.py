"""What is wrong with the bulkheads of a policy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from podium.v1 import policy_pb2
from service.domain.errors import Violation
from service.domain.policy_names import glob_violations, id_violations, list_violations

BULKHEADS_MAX = 100
_EXECUTOR_GLOB = re.compile(r"[ -~]{1,128}")


def bulkhead_violations(bulkheads: Sequence[policy_pb2.Bulkhead]) -> Iterator[Violation]:
    """What is wrong with them, and what would mend it."""
    if len(bulkheads) > BULKHEADS_MAX:
        yield "bulkheads", f"has {len(bulkheads)} bulkheads; at most {BULKHEADS_MAX} are allowed"
        return
    seen: set[str] = set()
    for index, bulkhead in enumerate(bulkheads):
        path = f"bulkheads[{index}]"
        yield from id_violations(path, bulkhead.id, seen)
        if bulkhead.max_concurrent < 1:
            yield f"{path}.max_concurrent", "must be at least 1; to allow nothing, write a rule that forbids"
        yield from glob_violations(f"{path}.tools", bulkhead.tools)
        yield from list_violations(f"{path}.executors", bulkhead.executors)
        for number, glob in enumerate(bulkhead.executors):
            if not _EXECUTOR_GLOB.fullmatch(glob):
                yield f"{path}.executors[{number}]", "must have 1 to 128 printable characters, as executors' names"
        if bulkhead.executors and bulkhead.tools:
            yield f"{path}.tools", "is for bulkheads without executors: one of executors counts all that runs on them"
        if bulkhead.executors and bulkhead.max_queued:
            yield f"{path}.max_queued", "is for bulkheads of tools: steps wait for a tool and not for an executor"
