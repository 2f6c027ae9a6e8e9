"""The lines of the service's log: text for people, or an object a line for programs.

Invariant: a line for programs holds no secret of a known shape, whatever was logged. What is told beside a message, as
tenant, workflow and trace, comes from the record or from the request that the current task serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import orjson

from service.admission.redaction import Redactor
from service.api.trace_contexts import current_request
from service.domain.trace_context import parse_traceparent, span_id, trace_of

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FIELDS = ("tenant", "workflow_id", "step_id", "attempt")
"""What a record may tell beside its message, given with `extra`; `traceparent` is that of the workflow's caller."""


def begin_logging(log_format: str, level: int | str) -> None:
    """Log to standard error in the format of the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(current_request) if log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler])


class JsonLines(logging.Formatter):
    """Formats a record as an object on one line."""

    def __init__(self, of_request: Callable[[], Mapping[str, str]]) -> None:
        """`of_request` tells the tenant and the traceparent of the request that is served."""
        super().__init__()
        self._of_request = of_request
        self._redactor = Redactor.of()

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(record.getMessage()),
            **self._place(record),
        }
        if record.exc_info:
            line["exception"] = self._clean(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()

    def _place(self, record: logging.LogRecord) -> dict[str, object]:
        """Where it happened: in which workflow and which trace."""
        given = record.__dict__
        request = self._of_request()
        place = {name: given[name] for name in FIELDS if name in given}
        if "tenant" not in place and request.get("tenant"):
            place["tenant"] = request["tenant"]
        if "workflow_id" in place and "tenant" in place:
            tenant, workflow_id = str(place["tenant"]), str(place["workflow_id"])
            place["trace_id"] = trace_of(tenant, workflow_id, str(given.get("traceparent", "")), 0).trace_id
            place["span_id"] = span_id(tenant, workflow_id, str(place.get("step_id", "")))
        elif (caller := parse_traceparent(request.get("traceparent", ""))) is not None:
            place["trace_id"], place["span_id"] = caller.trace_id, caller.span_id
        return place

    def _clean(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode()
        return self._redactor.text(text, {})
