"""An OpenTelemetry collector as far as a test needs one: takes OTLP over real HTTP, and keeps what it took."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WITHIN_S = 20.0


class OtlpReceiver:
    """`spans` and `metrics` that were sent, `headers` of the requests, `bodies` as they came."""

    def __init__(self):
        self.spans = []
        self.services = set()
        self.metrics = {}
        self.headers = []
        self.bodies = []
        self.answers_with = 200
        self.url = ""
        self._came = threading.Condition()

    def take(self, path, headers, body):
        """Takes a request, and returns the status of the answer."""
        with self._came:
            self.headers.append(headers)
            if self.answers_with == 200:
                self.bodies.append(body)
                {"/v1/traces": self._traces, "/v1/metrics": self._metrics}[path](body)
            self._came.notify_all()
            return self.answers_with

    def _traces(self, body):
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {each.value.string_value for each in of_resource.resource.attributes}
            self.spans += [span for scope in of_resource.scope_spans for span in scope.spans]

    def _metrics(self, body):
        for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in of_resource.scope_metrics:
                self.metrics |= {metric.name: metric for metric in scope.metrics}

    def wait_for(self, condition):
        """Waits until something that came makes the condition true. Not for the loop of a test."""
        with self._came:
            assert self._came.wait_for(condition, WITHIN_S), f"it did not come; there are {len(self.spans)} spans"

    def trace(self, trace_id):
        """The spans of a trace by their ids."""
        return {span.span_id: span for span in self.spans if span.trace_id == trace_id}


def attributes(of):
    """The attributes of a span, an event or a point."""
    return {each.key: each.value.string_value or each.value.int_value for each in of.attributes}


@contextmanager
def otlp_receiver():
    """Runs a receiver on a port of this machine."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(receiver.take(self.path, dict(self.headers), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args):
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
