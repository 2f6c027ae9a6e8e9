"""Joins: whether a step may run, by how many of its dependencies have ended and succeeded."""

from __future__ import annotations

from podium.v1 import definition_pb2
from service.domain.state import StepPlan


def joins(plan: StepPlan, total: int, ended: int, succeeded: int) -> bool:
    """Whether the join is met with so many dependencies in all, ended and succeeded."""
    if plan.join == definition_pb2.JOIN_ANY:
        return succeeded >= 1 or total == 0
    if plan.join == definition_pb2.JOIN_N_OF:
        return succeeded >= plan.join_count
    if plan.join == definition_pb2.JOIN_DONE:
        return ended == total
    return succeeded == total


def cannot_join(plan: StepPlan, total: int, ended: int, succeeded: int) -> bool:
    """Whether the join can not be met any more, whatever the other dependencies do."""
    if plan.join == definition_pb2.JOIN_ANY:
        return ended == total and succeeded == 0
    if plan.join == definition_pb2.JOIN_N_OF:
        return succeeded + total - ended < plan.join_count
    if plan.join == definition_pb2.JOIN_DONE:
        return False
    return ended > succeeded
