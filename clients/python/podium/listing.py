"""Pages through the service's lists."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from podium.connection import Connection
from podium.v1 import (
    tool_service_pb2,
    tool_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)


async def list_tools(
    connection: Connection, request: tool_service_pb2.ListToolsRequest
) -> AsyncGenerator[tool_service_pb2.Tool, None]:
    """Yields all tools that the request means."""
    stub = tool_service_pb2_grpc.ToolServiceStub(connection.channel)
    while True:
        page = await connection.call(stub.ListTools, request)
        for tool in page.tools:
            yield tool
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def list_steps(
    connection: Connection, request: workflow_service_pb2.ListStepsRequest
) -> AsyncGenerator[workflow_service_pb2.StepSummary, None]:
    """Yields all steps that the request means."""
    stub = workflow_service_pb2_grpc.WorkflowServiceStub(connection.channel)
    while True:
        page = await connection.call(stub.ListSteps, request)
        for step in page.steps:
            yield step
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def list_workflows(
    connection: Connection, request: workflow_service_pb2.ListWorkflowsRequest
) -> AsyncGenerator[workflow_service_pb2.WorkflowSummary, None]:
    """Yields all workflows that the request means, the newest first."""
    stub = workflow_service_pb2_grpc.WorkflowServiceStub(connection.channel)
    while True:
        page = await connection.call(stub.ListWorkflows, request)
        for workflow in page.workflows:
            yield workflow
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
