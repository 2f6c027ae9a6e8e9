"""Prints what came of the research demonstration: the result, the audit trail, and the replay's verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.access.audit_commands import decision_name, entry_dict
from service.cli.examples import this_command
from service.cli.output import print_json, say, table
from service.cli.status_json import failure_dict, output_of
from service.cli.terminal_text import counted, one_line

if TYPE_CHECKING:
    from podium import StepStatus, WorkflowStatus
    from podium.v1.audit_service_pb2 import AuditEntry

MATCHES = "replay matches"


@dataclass(slots=True)
class Report:
    """What came of it."""

    workflow: WorkflowStatus
    steps: Mapping[str, StepStatus]
    query: str
    audit: list[AuditEntry]
    replay: str = ""
    """What the witness said."""

    @property
    def succeeded(self) -> bool:
        """Whether the workflow succeeded and its events make the state that the service had."""
        return self.workflow.state == "succeeded" and self.replay.startswith(MATCHES)

    @property
    def last_line(self) -> str:
        """The outcome in a line; of a success, always in the same words."""
        if self.succeeded:
            return f"succeeded: {len(self.steps)} steps, {self.workflow.stream_version} events, {MATCHES}"
        if self.workflow.state == "succeeded":
            return f"failed: the workflow succeeded, but its replay says: {one_line(self.replay, 200)}"
        return f"{self.workflow.state}: {self.workflow.failure or 'the workflow did not succeed'}"

    def output(self, step_id: str) -> Any:  # noqa: ANN401 -- any JSON value
        """Return a step's output; None when it has none."""
        step = self.steps.get(step_id)
        return None if step is None else output_of(step)


def print_report(report: Report, state: Path, *, as_json: bool) -> None:
    """Print everything; the outcome comes last."""
    if as_json:
        print_json(_report_dict(report))
        return
    _print_result(report)
    _print_audit(report)
    say("\nRebuilt from its events, by another process that opened the database read-only:")
    say(f"  {report.replay}")
    say(f"\nThe history is kept in {state / 'podium.db'}. To look into it:")
    say(f"  {this_command()} serve --database {state / 'podium.db'} --state-dir {state}")
    say()
    say(report.last_line)


def _print_result(report: Report) -> None:
    search, summary, sentiment = (report.output(step) for step in ("search", "summarize", "sentiment"))
    if search is not None:
        say(f"\nSearched {counted(search['document_count'], 'document')} of {search['origin']} for {report.query!r}")
        if search["hits"]:
            say()
            table(
                ("score", "document", "title"),
                [(f"{hit['score']:.2f}", hit["name"], one_line(hit["title"], 60)) for hit in search["hits"]],
            )
    if summary is not None:
        say("\nSummary" if summary["sentences"] else "\nNo document answers this, so there is no summary.")
        for sentence in summary["sentences"]:
            say(f"  • {sentence['text']}")
            say(f"      {sentence['document']}")
    if sentiment is not None:
        overall = sentiment["overall"]
        counts = f"{overall['positive_count']} positive, {overall['negative_count']} negative"
        score = f"{overall['compound']:+.2f} over {overall['sentence_count']} sentences"
        say(f"\nSentiment: {overall['label']} ({score}, {counts})")
    elif "sentiment" in report.steps:
        say(f"\nSentiment: {report.steps['sentiment'].state}")


def _print_audit(report: Report) -> None:
    decisions = [entry for entry in report.audit if entry.type == "permission_checked"]
    say("\nAudit trail: who was allowed what, by which rule")
    say()
    rows = [
        (
            entry.event,
            decision_name(entry.decision),
            entry.principal.subject,
            entry.tool,
            entry.step_id,
            entry.rule,
            entry.policy,
        )
        for entry in decisions
    ]
    table(("event", "decision", "who", "tool", "step", "rule", "policy"), rows)
    others = len(report.audit) - len(decisions)
    say(f"and {others} more entries: {this_command()} audit query --stream {report.workflow.id}")


def _report_dict(report: Report) -> dict[str, Any]:
    return {
        "succeeded": report.succeeded,
        "outcome": report.last_line,
        "workflow_id": report.workflow.id,
        "state": report.workflow.state,
        "failure": failure_dict(report.workflow.failure),
        "query": report.query,
        "step_count": len(report.steps),
        "event_count": report.workflow.stream_version,
        "states": {step.id: step.state for step in report.steps.values()},
        "search": report.output("search"),
        "summary": report.output("summarize"),
        "sentiment": report.output("sentiment"),
        "audit": [entry_dict(entry) for entry in report.audit],
        "replay": report.replay,
    }
