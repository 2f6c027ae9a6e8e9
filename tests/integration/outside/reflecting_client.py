"""A client that knows nothing of Podium but its address: it learns the messages by reflection.

`python reflecting_client.py ADDRESS TOKEN TOOL ARGUMENTS`, with grpcio and grpcio-reflection alone. Starts a workflow
of one call, watches it to the end and prints what it saw as JSON.
"""

import importlib.util
import json
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Service:
    """A service as reflection describes it."""

    def __init__(self, channel, name, token):
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self._service = pool.FindServiceByName(name)

    def call(self, method_name, **fields):
        """Calls a method with a request made of these fields."""
        method = self._service.methods_by_name[method_name]
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        make = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        multicallable = make(
            f"/{self._service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return multicallable(request, metadata=self._metadata, timeout=60)


def main(address, token, tool, arguments):
    """Runs the workflow."""
    foreign = [name for name in ("podium", "service", "store") if importlib.util.find_spec(name)]
    if foreign:
        sys.exit(f"this environment holds more than it may: {foreign}")
    with grpc.insecure_channel(address) as channel:
        listed = ProtoReflectionDescriptorDatabase(channel).get_services()
        workflows = Service(channel, "podium.v1.WorkflowService", token)
        started = workflows.call("StartWorkflow", steps=[{"tool": tool, "arguments_json": arguments}])
        kinds = []
        for message in workflows.call("WatchWorkflow", workflow_id=started.workflow_id):
            kinds += [item.event.WhichOneof("payload") or "chunk" for item in message.items]
        page = workflows.call("ListSteps", workflow_id=started.workflow_id)
        summary = workflows.call("GetWorkflow", workflow_id=started.workflow_id).workflow
        states = summary.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number
        told = {
            "services": sorted(listed),
            "workflow_id": started.workflow_id,
            "kinds": kinds,
            "output": page.steps[0].output_json,
            "state": states[summary.state].name,
        }
        sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
