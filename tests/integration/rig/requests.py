"""One request for every method of the contract, found by walking the services' descriptors."""

from google.protobuf import message_factory

from podium.v1 import (
    access_service_pb2,
    admin_service_pb2,
    audit_service_pb2,
    event_service_pb2,
    executor_service_pb2,
    monitoring_service_pb2,
    replay_service_pb2,
    resilience_service_pb2,
    tool_service_pb2,
    workflow_service_pb2,
)

FILES = [
    access_service_pb2,
    admin_service_pb2,
    audit_service_pb2,
    event_service_pb2,
    executor_service_pb2,
    monitoring_service_pb2,
    replay_service_pb2,
    resilience_service_pb2,
    tool_service_pb2,
    workflow_service_pb2,
]
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""By full name: the descriptors of all methods."""


def invoke(caller, path, request=None, *, timeout=10.0):
    """Calls a method with a request, an empty one when there is none, whatever kind of method it is.

    A method that takes a stream gets an empty one: grpc.aio hides the status of a call that ends while it writes.
    """
    method = METHODS[path]
    request_class, answer_class = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    multicallable = _stub(caller, path)(
        path, request_serializer=request_class.SerializeToString, response_deserializer=answer_class.FromString
    )
    sent = request_class() if request is None else request
    return multicallable(_nothing() if method.client_streaming else sent, metadata=caller.metadata, timeout=timeout)


def invoke_with_bytes(caller, path, *data, timeout=10.0):
    """Calls a method with bytes in the place of its request, or of a stream of them, and gets bytes back."""
    sent = _stream(data) if METHODS[path].client_streaming else data[0]
    return _stub(caller, path)(path)(sent, metadata=caller.metadata, timeout=timeout)


def _stub(caller, path):
    method = METHODS[path]
    kinds = {
        (False, False): caller.channel.unary_unary,
        (False, True): caller.channel.unary_stream,
        (True, False): caller.channel.stream_unary,
        (True, True): caller.channel.stream_stream,
    }
    return kinds[method.client_streaming, method.server_streaming]


async def _stream(items):
    for item in items:
        yield item


async def _nothing():
    return
    yield
