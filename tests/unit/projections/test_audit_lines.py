"""The lines of the trail: every event has one, it names who and what, and it copies no value."""

import pytest

from podium.v1 import events_pb2 as e
from podium.v1.value_pb2 import Principal
from service.projections.audit_lines import LINES, line_of
from service.projections.audit_words import TEXT_MAX
from store.records import TYPE_NAMES, decode_record
from tests.unit.projections.memory_log import MemoryLog
from tests.unit.projections.samples import ANA, SECRET, check, record_history


def types_without_a_line(lines):
    return set(TYPE_NAMES.values()) - lines.keys()


def line_for(payload, principal=None):
    log = MemoryLog()
    log.record("acme", "workflow-1", payload, principal=principal)
    return line_of(decode_record(log.events[0].record))


def test_every_event_in_the_oneof_has_its_line():
    assert types_without_a_line(LINES) == set()
    assert LINES.keys() <= set(TYPE_NAMES.values())


def test_negative_control_a_missing_line_is_found():
    lines = {name: line for name, line in LINES.items() if name != "step_denied"}
    assert types_without_a_line(lines) == {"step_denied"}


def test_the_samples_have_every_event():
    log = MemoryLog()
    record_history(log)
    assert {event.type for event in log.events} == TYPE_NAMES.keys()


def test_no_value_is_copied_into_a_line():
    log = MemoryLog()
    record_history(log)
    assert any(SECRET.encode() in event.record for event in log.events)
    for event in log.events:
        assert SECRET not in repr(line_of(decode_record(event.record)))


def test_an_allowed_call_says_who_may_do_what_and_why():
    ana = Principal(subject="ana", on_behalf_of="bob")
    line = line_for(check("step_1", "search", e.DECISION_ALLOW, principal=ana))
    assert line.summary == "ana (for bob) may run search: rule role:admin, policy default@1"
    assert (line.decision, line.tool, line.rule, line.policy) == (e.DECISION_ALLOW, "search", "role:admin", "default@1")


def test_a_denied_call_says_what_was_missing():
    line = line_for(
        check("step_1", "refund", e.DECISION_DENY, principal=Principal(subject="eve"), missing=["financial_operations"])
    )
    assert line.summary == "denied to eve: refund needs financial_operations (rule default-deny, policy default@1)"


def test_a_decision_is_told_with_whose_authority_was_checked():
    line = line_for(check("step_1", "search", e.DECISION_ALLOW, principal=ANA), principal=Principal(subject="carl"))
    assert line.authority == ANA


@pytest.mark.parametrize("decision", [e.DECISION_DENY, e.DECISION_UNSPECIFIED])
def test_what_is_not_allowed_reads_as_denied(decision):
    line = line_for(e.PermissionChecked(step_id="step_1", tool="search", decision=decision))
    assert line.summary == "denied to the service: search"


def test_a_flood_that_is_told_by_its_reason_alone_is_nobody_s():
    denied = line_for(e.RequestDenied(reason="PERMISSION_DENIED", count=9))
    assert denied.summary == "denied to several callers 9 times: a request: PERMISSION_DENIED"
    refused = line_for(e.SubmissionRefused(reason="INVALID_WORKFLOW", count=9))
    assert refused.summary == "a request of several callers was refused 9 times: INVALID_WORKFLOW"
    assert (denied.authority, refused.authority) == (None, None)


def test_a_callers_text_cannot_pass_for_another_line():
    line = line_for(
        e.WorkflowCancelRequested(reason="x\n{}\r\u202eevil\x1b[2J"), principal=Principal(subject="ana\x00")
    )
    assert line.summary.isprintable()


def test_a_long_text_is_cut():
    line = line_for(e.WorkflowStarted(name="n" * 100_000))
    assert len(line.summary) < TEXT_MAX + 50
    assert line.summary.endswith("…")


def test_a_text_of_control_characters_is_cut_without_reading_it_all():
    line = line_for(e.WorkflowStarted(name="\x00" * 100_000 + "x"))
    assert line.summary == "the service started a workflow named "


def test_a_type_of_a_newer_version_has_a_line_that_says_so():
    assert line_of(e.Event(type=4711, ignorable=True)).summary == (
        "an event of type 4711, which this version does not know"
    )
