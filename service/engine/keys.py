"""What the engine's tables are keyed by."""

from __future__ import annotations

from typing import NamedTuple


class WorkflowKey(NamedTuple):
    """Names a workflow."""

    tenant: str
    workflow_id: str


class StepKey(NamedTuple):
    """Names a step of a workflow."""

    tenant: str
    workflow_id: str
    step_id: str

    @property
    def workflow(self) -> WorkflowKey:
        """The workflow the step belongs to."""
        return WorkflowKey(self.tenant, self.workflow_id)


class ToolVersion(NamedTuple):
    """Names a version of a tenant's tool."""

    tenant: str
    tool: str
    version: int
