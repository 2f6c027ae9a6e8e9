"""The fold: how each event changes the state of a workflow.

Everything that changes a workflow's state is a fold, in the module of its kind of event, or what folds share, in
`service.domain.progress`. It updates the state in place, evaluates nothing and costs the same however large the
workflow is; a denial of either would break replay or speed.
"""

from __future__ import annotations

from google.protobuf.message import Message

from service.domain import attempt_folds, step_folds, workflow_folds
from service.domain.state import Workflow

FOLDS = workflow_folds.FOLDS | step_folds.FOLDS | attempt_folds.FOLDS
"""The fold of each event of a workflow."""


def evolve(state: Workflow, event: Message) -> None:
    """Apply an event's payload. Raises KeyError for a message that is no event of a workflow."""
    FOLDS[type(event)](state, event)
