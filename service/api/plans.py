"""Plans that were submitted before: normalised once, because a workflow is usually started many times.

What is remembered holds only while every tool it names has the version it was pinned to.

Invariant: no steps hold the loop while they are read, however many there are; nothing is recorded by then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from podium.v1 import definition_pb2
from service.domain.calls import calls_of
from service.domain.definition import Draft
from service.domain.validation import Validation

_REMEMBERED_BYTES = 4 << 20
"""Of submitted steps, in all."""
_PLAN_BYTES = 64 << 10
"""A longer plan is not remembered: it is hardly sent twice."""

_PIECE = 100
"""Steps that are read before others have their turn; a long one counts as several, one for so many bytes:"""
_LONG_BYTES = 128
_PIECE_US = 20_000
"""How long it may have computed when it begins with another one, however short they are."""

_Key = tuple[str, bool, tuple[bytes, ...]]


class _Plan(NamedTuple):
    steps: Sequence[definition_pb2.StepDefinition]
    versions: Mapping[str, int]
    """The version of each tool the steps are pinned to."""
    size_bytes: int


class Plans:
    """Brings the steps of new workflows into their normal form; see service.domain.definition.Draft."""

    def __init__(self, validation_of: Callable[[str], Validation], worked_us: Callable[[], int]) -> None:
        """`worked_us` tells how long the thread has computed."""
        self._validation_of = validation_of
        self._worked_us = worked_us
        self._plans: OrderedDict[_Key, _Plan] = OrderedDict()
        self._size_bytes = 0

    async def prepare(
        self, tenant: str, submitted: Sequence[definition_pb2.StepDefinition], *, shorthand: bool, path: str
    ) -> Callable[[], Sequence[definition_pb2.StepDefinition]]:
        """Read the steps, and return what gives them in their normal form or raises InvalidInput.

        What is wrong is not raised here, because a request that is repeated is answered whatever it holds. Nobody may
        change the steps: others are given the same.
        """
        validation = self._validation_of(tenant)
        size_bytes = sum([step.ByteSize() for step in submitted])
        if size_bytes > _PLAN_BYTES:
            return (await self.read(Draft(submitted, validation, shorthand=shorthand, path=path))).finish
        key = (tenant, shorthand, tuple([step.SerializeToString() for step in submitted]))
        plan = self._plans.get(key)
        if plan is not None and all(_is_newest(validation, *pinned) for pinned in plan.versions.items()):
            self._plans.move_to_end(key)
            return lambda: plan.steps
        draft = await self.read(Draft(submitted, validation, shorthand=shorthand, path=path))

        def finish() -> Sequence[definition_pb2.StepDefinition]:
            steps = draft.finish()
            versions = {call.tool: call.tool_version for step in steps for call in calls_of(step)}
            self._remember(key, _Plan(steps, versions, size_bytes))
            return steps

        return finish

    async def read(self, draft: Draft) -> Draft:
        """Read all steps of a draft, and let others have their turn in between."""
        done, until_us = 0, self._worked_us() + _PIECE_US
        for size_bytes in draft.read():
            done += 1 + size_bytes // _LONG_BYTES
            if done >= _PIECE or self._worked_us() >= until_us:
                await asyncio.sleep(0)
                done, until_us = 0, self._worked_us() + _PIECE_US
        return draft

    def _remember(self, key: _Key, plan: _Plan) -> None:
        outdated = self._plans.pop(key, None)
        self._size_bytes += plan.size_bytes - (outdated.size_bytes if outdated is not None else 0)
        self._plans[key] = plan
        while self._size_bytes > _REMEMBERED_BYTES:
            _, forgotten = self._plans.popitem(last=False)
            self._size_bytes -= forgotten.size_bytes


def _is_newest(validation: Validation, name: str, version: int) -> bool:
    tool = validation.tool(name)
    return tool is not None and tool.version == version
