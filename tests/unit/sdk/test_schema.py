"""A tool's schema comes from its type hints, and what the schema lets in is what the function gets."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict, Union

import jsonschema_rs
import pytest

import podium
from podium.context import AttemptFacts
from podium.signature import Signature, description

CustomerId = NewType("CustomerId", str)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Address:
    street: str
    city: str = "Berlin"
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)


class Options(TypedDict):
    limit: int
    color: NotRequired[Color]


class Silent:
    cancelled = False


CONTEXT = podium.Context(AttemptFacts("t", "wf", "s", 1, "k"), Silent())


def parameters(function):
    return json.loads(Signature.of(function).input_schema_json)


def property_of(hint, **kwargs):
    def function(value): ...

    function.__annotations__ = {"value": hint}
    return parameters(function)["properties"]["value"]


def reads(hint, value):
    def function(value): ...

    function.__annotations__ = {"value": hint}
    return Signature.of(function).bind(json.dumps({"value": value}), lambda: CONTEXT)["value"]


STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (str, STRING),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (CustomerId, STRING),
        (list, {"type": "array", "items": {}}),
        (list[str], {"type": "array", "items": STRING}),
        (Sequence[str], {"type": "array", "items": STRING}),
        (set[str], {"type": "array", "items": STRING, "uniqueItems": True}),
        (tuple[str, ...], {"type": "array", "items": STRING}),
        (
            tuple[str, int],
            {"type": "array", "prefixItems": [STRING, {"type": "integer"}], "items": False, "minItems": 2},
        ),
        (dict, {"type": "object"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping[str, str], {"type": "object", "additionalProperties": STRING}),
        (str | None, {"anyOf": [STRING, {"type": "null"}]}),
        (Optional[str], {"anyOf": [STRING, {"type": "null"}]}),  # noqa: UP045 -- people write it
        (Union[str, int], {"anyOf": [STRING, {"type": "integer"}]}),  # noqa: UP007 -- people write it
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a", 1, None], {"enum": ["a", 1, None]}),  # noqa: PYI061 -- people write it
        (Color, {"type": "string", "enum": ["red", "blue"]}),
        (Level, {"type": "integer", "enum": [1, 2]}),
        (Annotated[str, "an invoice"], {"type": "string", "description": "an invoice"}),
        (Annotated[int, "cents", {"minimum": 1}], {"type": "integer", "description": "cents", "minimum": 1}),
        (Address, {"$ref": "#/$defs/Address"}),
    ],
)
def test_a_hint_has_its_schema(hint, schema):
    assert property_of(hint) == schema


def test_a_function_has_a_closed_object_with_its_defaults():
    async def refund(
        invoice: str, cents: Annotated[int, "how much"] = 5, ctx: podium.Context = None, color: Color = Color.RED
    ) -> str: ...

    assert parameters(refund) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "invoice": STRING,
            "cents": {"type": "integer", "description": "how much", "default": 5},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        },
        "additionalProperties": False,
        "required": ["invoice"],
    }


def test_classes_are_defined_once_and_may_hold_themselves():
    def plant(tree: Tree, twin: Tree, options: Options): ...

    schema = parameters(plant)
    assert schema["$defs"]["Tree"] == {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        },
        "additionalProperties": False,
        "required": ["value"],
    }
    assert schema["$defs"]["Options"]["required"] == ["limit"]
    validator = jsonschema_rs.Draft202012Validator(schema)
    leaf = {"value": 1}
    assert validator.is_valid({"tree": {"value": 1, "children": [leaf]}, "twin": leaf, "options": {"limit": 1}})
    assert not validator.is_valid({"tree": {"value": 1, "children": [{}]}, "twin": leaf, "options": {"limit": 1}})


@pytest.mark.parametrize(
    ("hint", "given", "read"),
    [
        (float, 3, 3.0),
        (int, 2.0, 2),
        (int | str, "7", "7"),
        (Color, "blue", Color.BLUE),
        (Level, 2, Level.HIGH),
        (Literal["a", 1], 1, 1),
        (tuple[str, int], ["a", 1], ("a", 1)),
        (set[int], [1, 2], {1, 2}),
        (dict[str, Color], {"a": "red"}, {"a": Color.RED}),
        (Address, {"street": "x"}, Address("x")),
        (Address | None, None, None),
        (Options, {"limit": 1, "color": "red"}, {"limit": 1, "color": Color.RED}),
        (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
        (Any, {"a": [1]}, {"a": [1]}),
    ],
)
def test_a_value_is_read_as_its_type(hint, given, read):
    result = reads(hint, given)
    assert result == read
    assert type(result) is type(read)


@pytest.mark.parametrize(
    ("hint", "given", "message"),
    [
        (str, 1, "value must be string"),
        (int, True, "value must be integer"),
        (bool, 1, "value must be boolean"),
        (int, 2.5, "value must be integer"),
        (Literal["a"], "b", 'value must be one of "a"'),
        (list[int], [1, "x"], "value[1] must be integer"),
        (tuple[int, int], [1], "value must have 2 elements"),
        (dict[str, int], {"a": None}, "value.a must be integer"),
        (Address, {"city": "x"}, "value.street is missing"),
        (Address, {"street": "x", "zip": 1}, "value.zip is unknown"),
        (Tree, {"value": 1, "children": [{"value": "x"}]}, "value.children[0].value must be integer"),
        (int | str, None, "value is of none of the types it may have"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(hint, given, message):
    with pytest.raises(podium.ToolFailed) as raised:
        reads(hint, given)
    assert raised.value.message == f"invalid arguments: {message}"
    assert (raised.value.reason, raised.value.retryable) == ("INVALID_ARGUMENTS", False)


@pytest.mark.parametrize("hint", [bytes, object(), dict[int, str], list[complex], type, lambda: 0])
def test_a_hint_without_a_json_form_is_refused_when_the_tool_is_declared(hint):
    with pytest.raises(TypeError, match="value"):
        property_of(hint)


def test_the_context_is_injected_and_not_in_the_schema():
    async def tool(ctx: podium.Context, name: str): ...

    signature = Signature.of(tool)
    assert list(json.loads(signature.input_schema_json)["properties"]) == ["name"]
    assert signature.bind('{"name": "a"}', lambda: CONTEXT) == {"name": "a", "ctx": CONTEXT}


def test_parameters_without_a_name_are_refused():
    def variadic(*numbers: int): ...

    def positional(number: int, /): ...

    for function in (variadic, positional):
        with pytest.raises(TypeError, match="named"):
            Signature.of(function)


def test_what_a_function_returns_is_its_output_schema():
    def pay() -> Address: ...

    def anything(): ...

    def nothing_in_json() -> bytes: ...

    async def pieces() -> AsyncIterator[str]:
        yield ""

    schema = json.loads(Signature.of(pay).output_schema_json)
    assert jsonschema_rs.Draft202012Validator(schema).is_valid({"street": "x"})
    assert [Signature.of(each).output_schema_json for each in (anything, nothing_in_json, pieces)] == ["", "", ""]


def test_the_first_paragraph_of_the_docstring_is_the_description():
    def tool():
        """Refund an invoice,
        all of it.

        Not more.
        """

    assert description(tool) == "Refund an invoice, all of it."
    assert description(lambda: 0) == ""


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (lambda app: app.tool(name="a b"), ValueError),
        (lambda app: app.tool(name="x" * 65), ValueError),
        (lambda app: app.tool(permissions="database_read"), TypeError),
        (lambda app: app.tool(streams_output=True), TypeError),
        (lambda app: app.tool(timeout="soon"), ValueError),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(declare, error):
    def tool(): ...

    with pytest.raises(error):
        declare(podium.Executor("e"))(tool)


def test_an_async_function_is_not_for_a_process_and_a_name_is_taken_once():
    app = podium.Executor("e")

    @app.tool
    async def tool(): ...

    with pytest.raises(TypeError, match="process"):
        app.tool(isolation="process", name="other")(tool)
    with pytest.raises(ValueError, match="already has"):
        app.tool(tool)


def test_a_declared_function_stays_what_it_was():
    app = podium.Executor("e")

    @app.tool(permissions=["b", "a", "b"])
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3
    assert list(app.tools["add"].definition.permissions) == ["a", "b"]
