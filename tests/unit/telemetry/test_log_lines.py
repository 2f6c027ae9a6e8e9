"""Lines for programs: an object each, with where it happened, and without secrets."""

import json
import logging

from service.domain.trace_context import span_id, trace_of
from service.log_format import JsonLines

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEY = "AKIA" + "Z" * 16


def line(message="it happened", *, request=None, error=None, **extra):
    record = logging.makeLogRecord(
        {"name": "service.somewhere", "levelno": 40, "levelname": "ERROR", "msg": message, "created": 1_700_000_000.25}
        | extra
    )
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    text = JsonLines(lambda: request or {}).format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_is_an_object():
    assert line() == {
        "time": "2023-11-14T22:13:20.250000+00:00",
        "level": "error",
        "logger": "service.somewhere",
        "message": "it happened",
    }


def test_a_line_of_a_request_names_its_tenant_and_the_caller_s_span():
    told = line(request={"tenant": "acme", "traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert (told["tenant"], told["trace_id"], told["span_id"]) == ("acme", TRACE, PARENT)


def test_a_line_of_a_workflow_names_the_span_that_the_collector_has():
    told = line(tenant="acme", workflow_id="wf_1", traceparent="")
    assert told["trace_id"] == trace_of("acme", "wf_1", "", 1).trace_id
    assert told["span_id"] == span_id("acme", "wf_1")
    assert told["workflow_id"] == "wf_1"
    told = line(tenant="acme", workflow_id="wf_1", step_id="a", traceparent=f"00-{TRACE}-{PARENT}-01")
    assert (told["trace_id"], told["span_id"]) == (TRACE, span_id("acme", "wf_1", "a"))


def test_what_looks_like_a_secret_is_taken_out_of_messages_and_tracebacks():
    told = line(f"failed with {KEY}", error=ValueError(f"key {KEY}\nsecond line"))
    assert KEY not in json.dumps(told)
    assert "[redacted:" in told["message"]
    assert "ValueError" in told["exception"]


def test_whatever_is_logged_becomes_a_line():
    assert line("half of a pair: \ud83d")["message"] == "half of a pair: ?"
    assert line("ü\x00\u2028")["message"] == "ü\x00\u2028"
