"""What runs under revoked credentials: it is canceled, durably, in the next turn of its workflow.

Invariant: a workflow compares itself with the revocations in every turn, from memory. So it does not matter who lets it
take the turn: the revocation itself, recovery after a crash in between, or whatever wakes a parked workflow.
"""

from __future__ import annotations

from service.domain.commands import CancelWorkflow
from service.domain.revocations import Revocation, Revocations
from service.engine.resident import Resident

REASON_LENGTH_MAX = 1000


def revoked(resident: Resident, revocations: Revocations) -> Revocation | None:
    """The revocation that hits what a workflow still has to do; None: none does, or it is being canceled."""
    state = resident.state
    if not state.running or state.canceling:
        return None
    hits = {}
    for index, authority in enumerate(state.authorities):
        hit = revocations.find(resident.key.tenant, authority)
        if hit is not None:
            hits[index] = hit
    if 0 in hits and state.open:
        return hits[0]
    if not hits:
        return None
    return next(
        (hits[step.plan.authority] for step in state.steps.values() if not step.ended and step.plan.authority in hits),
        None,
    )


def cancel_command(hit: Revocation, now_us: int) -> CancelWorkflow:
    """What ends a workflow that a revocation hits."""
    reason = f"the {hit.kind} it runs under was revoked" + (f": {hit.reason}" if hit.reason else "")
    return CancelWorkflow(now_us, reason[:REASON_LENGTH_MAX])
