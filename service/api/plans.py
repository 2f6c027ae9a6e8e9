"""Plans that were submitted before: normalised once, because a workflow is usually started many times.

What is remembered holds only while every tool it names has the version it was pinned to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from podium.v1 import definition_pb2
from service.domain.definition import Validation, normalise

_REMEMBERED_BYTES = 4 << 20
"""Of submitted steps, in all."""
_PLAN_BYTES = 64 << 10
"""A longer plan is not remembered: it is hardly sent twice."""

_Key = tuple[str, bool, tuple[bytes, ...]]


class _Plan(NamedTuple):
    steps: Sequence[definition_pb2.StepDefinition]
    versions: Mapping[str, int]
    """The version of each tool the steps are pinned to."""
    size_bytes: int


class Plans:
    """Brings the steps of new workflows into their normal form; see service.domain.definition.normalise."""

    def __init__(self, validation_of: Callable[[str], Validation]) -> None:
        self._validation_of = validation_of
        self._plans: OrderedDict[_Key, _Plan] = OrderedDict()
        self._size_bytes = 0

    def normalise(
        self, tenant: str, submitted: Sequence[definition_pb2.StepDefinition], *, shorthand: bool, path: str
    ) -> Sequence[definition_pb2.StepDefinition]:
        """The steps in their normal form, which nobody may change: others are given the same. Raises InvalidInput."""
        validation = self._validation_of(tenant)
        parts = tuple([step.SerializeToString() for step in submitted])
        size_bytes = sum(map(len, parts))
        key = (tenant, shorthand, parts)
        plan = self._plans.get(key)
        if plan is not None and all(_is_newest(validation, *pinned) for pinned in plan.versions.items()):
            self._plans.move_to_end(key)
            return plan.steps
        steps = normalise(submitted, validation, shorthand=shorthand, path=path)
        if size_bytes <= _PLAN_BYTES:
            self._remember(key, _Plan(steps, {step.tool: step.tool_version for step in steps}, size_bytes))
        return steps

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
