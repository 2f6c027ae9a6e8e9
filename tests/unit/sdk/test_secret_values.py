"""What a tool was given reaches the tool, and nothing that the SDK says for it."""

import asyncio
import json
import logging
import pickle
from typing import Annotated

import pytest

import podium
from podium.failures import MESSAGE_MAX_CHARS, failure_of
from podium.secret_values import SecretValues
from podium.v1 import executor_service_pb2 as pb
from tests.unit.sdk import process_tools
from tests.unit.sdk.executor_peer import WITHIN_S, assignment, running_peer, serving

VALUE = 'correct "horse" bättery'
SECRETS = [pb.Secret(name="api-key", value=VALUE.encode())]


def test_a_parameter_and_an_output_can_be_marked():
    app = podium.Executor("marks")

    @app.tool
    def login(
        user: str,
        password: Annotated[str, "The password.", podium.Sensitive],
        pin: Annotated[int, podium.Sensitive] | None,
    ) -> Annotated[str, podium.Redacted]: ...

    definition = app.tools["login"].definition
    properties = json.loads(definition.input_schema_json)["properties"]
    assert "x-podium-sensitive" not in properties["user"]
    assert properties["password"] == {"type": "string", "description": "The password.", "x-podium-sensitive": True}
    assert properties["pin"]["anyOf"][0] == {"type": "integer", "x-podium-sensitive": True}
    assert json.loads(definition.output_schema_json)["x-podium-redact"] is True


def test_a_tool_names_the_secrets_it_needs():
    app = podium.Executor("secrets")

    @app.tool(secrets=["b", "a", "a"])
    def fetch() -> str: ...

    assert list(app.tools["fetch"].definition.secrets) == ["a", "b"]
    with pytest.raises(TypeError, match="lists of names"):
        app.tool(name="other", secrets="a")(fetch)


def test_nothing_that_is_printed_of_secrets_holds_them():
    values = SecretValues.of(SECRETS)
    copied = pickle.loads(pickle.dumps(values))
    facts = podium.context.AttemptFacts("t", "wf", "s", 1, "k", secrets=copied)
    assert copied.get("api-key", "t") == VALUE
    assert "horse" not in repr(values) + str(values) + repr(facts) + repr(podium.Context(facts, None))
    assert "api-key" in repr(facts)


def test_a_secret_that_was_not_declared_is_told_with_the_remedy():
    with pytest.raises(LookupError, match=r'declare it with secrets=\["other"\]'):
        SecretValues.of(SECRETS).get("other", "fetch")
    with pytest.raises(podium.ToolFailed, match="is no text") as failed:
        SecretValues({"raw": b"\xff\xfehorse"}).get("raw", "fetch")
    assert "horse" not in str(failed.value)


def test_values_are_taken_out_of_json_and_the_rest_stays_as_it_was():
    values = SecretValues.of([*SECRETS, pb.Secret(name="pin", value=b"271828")])
    text = json.dumps({"a": [f"x{VALUE}y", 271828, 2718281], VALUE: None}, ensure_ascii=False)
    assert json.loads(values.out_of_json(text)) == {
        "a": ["x[redacted:api-key]y", "[redacted:pin]", 2718281],
        "[redacted:api-key]": None,
    }
    unchanged = '{"a" : 1.0}'
    assert values.out_of_json(unchanged) is unchanged


def test_a_message_that_is_cut_leaves_no_part_of_a_value():
    message = "x" * (MESSAGE_MAX_CHARS - 10) + VALUE
    failure = failure_of(ValueError(message), SecretValues.of(SECRETS))
    assert "corr" not in failure.message


CALLS = [
    ("raises", "leak", {"how": "raise"}),
    ("fails", "leak", {"how": "fail"}),
    ("returns", "leak", {"how": "return"}),
    ("streams", "stream", {}),
]


async def said_of(session):
    """All that is said of an attempt until its outcome."""
    said = []
    async with asyncio.timeout(WITHIN_S):
        while not said or said[-1].WhichOneof("item") not in ("result", "failure"):
            said.append(await session._items.get())  # noqa: SLF001 -- the peer's own queue
    return said


async def test_a_tool_that_tells_its_secret_is_not_heard(caplog):
    app = podium.Executor("leaky")

    @app.tool(secrets=["api-key"])
    async def leak(ctx: podium.Context, how: str) -> str:
        value = ctx.secret("api-key")
        ctx.progress(0.5, f"using {value}")
        if how == "raise":
            raise RuntimeError(f"it failed with {value}") from ValueError(value)
        if how == "fail":
            raise podium.ToolFailed(f"with {value}", reason=value, field=value)
        return f"the key is {value}"

    @app.tool(secrets=["api-key"])
    def stream(ctx: podium.Context):
        yield f"<{ctx.secret('api-key')}>"

    caplog.set_level(logging.DEBUG)
    said = []
    async with running_peer() as peer, serving(app, peer, chunk_limit_bytes=1024) as session:
        for step, tool, arguments in CALLS:
            await session.send(assign=assignment(tool, json.dumps(arguments), step=step, secrets=SECRETS))
            said += await said_of(session)
    told = "\n".join(str(item) for item in said) + caplog.text
    assert told.count("[redacted:api-key]") >= 8
    assert not any(part in told for part in ("horse", "correct", "ttery"))


async def test_a_tool_in_a_process_is_given_its_secrets_too():
    async with running_peer() as peer, serving(process_tools.app, peer) as session:
        await session.send(assign=assignment("tell", secrets=[pb.Secret(name="token", value=b"correct horse")]))
        said = await said_of(session)
    assert said[-1].result.output.json == '{"length":13,"told":"[redacted:token]"}'


def test_the_search_finds_a_value_that_is_not_taken_out():
    assert "horse" in str(failure_of(ValueError(VALUE)))
