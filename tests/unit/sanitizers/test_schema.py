"""Sanitizers in a JSON Schema: found wherever they are declared, or the schema is refused."""

import json
from dataclasses import dataclass
from typing import Annotated

import pytest

import podium
from podium.sanitizers import Rejected, SpecificationRefused, compile_schema_sanitizers
from podium.signature import Signature

TEXT = {"type": "string", "x-podium-sanitize": {"text": {}}}
PATH = {"type": "string", "x-podium-sanitize": {"path": {"roots": ["/srv"]}}}
REFERENCE = {"$ref": "#/$defs/p"}
URL = {"type": "string", "x-podium-sanitize": {"url": {}}}


def member(schema, **more):
    return {"type": "object", "properties": {"x": schema}, **more}


def field_refused(schema, value):
    """Where a value is refused; None where it passes."""
    try:
        compile_schema_sanitizers(schema).apply(value)
    except Rejected as rejected:
        return rejected.field
    return None


@pytest.mark.parametrize(
    ("schema", "value", "field"),
    [
        (member(PATH), {"x": ".."}, "arguments.x"),
        (member({"type": "array", "items": PATH}), {"x": ["a", ".."]}, "arguments.x[1]"),
        (member({"prefixItems": [{}, PATH], "items": TEXT}), {"x": [0, ".."]}, "arguments.x[1]"),
        (member({"prefixItems": [{}], "items": PATH}), {"x": ["..", ".."]}, "arguments.x[1]"),
        ({"additionalProperties": PATH}, {"y": "a", "z z": ".."}, 'arguments["z z"]'),
        (member({"allOf": [{}, PATH]}), {"x": ".."}, "arguments.x"),
        (member({"anyOf": [PATH, {"type": "null"}]}), {"x": ".."}, "arguments.x"),
        (member({"oneOf": [{"type": "integer"}, PATH]}), {"x": ".."}, "arguments.x"),
        (member({"if": {"type": "string"}, "then": PATH}), {"x": ".."}, "arguments.x"),
        (member({"if": {"type": "integer"}, "else": PATH}), {"x": ".."}, "arguments.x"),
        (member({"$ref": "#/$defs/p"}, **{"$defs": {"p": PATH}}), {"x": ".."}, "arguments.x"),
        (member({"$ref": "#/properties/y"}, properties={"x": {"$ref": "#/$defs/a~1b"}}, **{"$defs": {"a/b": PATH}}),
         {"x": ".."}, "arguments.x"),
        ({"$defs": {"n": member(PATH, additionalProperties={"$ref": "#/$defs/n"})}, "$ref": "#/$defs/n"},
         {"a": {"b": {"x": ".."}}}, "arguments.a.b.x"),
        (member({**PATH, "type": ["string", "null"]}), {"x": ".."},
         "arguments.x"),
    ],
)  # fmt: skip
def test_a_sanitizer_applies_wherever_it_is_declared(schema, value, field):
    assert field_refused(schema, value) == field
    harmless = json.loads(json.dumps(value).replace("..", "a"))
    assert compile_schema_sanitizers(schema).apply(harmless) is harmless


def test_a_schema_without_any_has_none():
    assert compile_schema_sanitizers(member({"type": "string"})) is None
    assert compile_schema_sanitizers({"properties": {"x-podium-sanitize": {"type": "string"}}}) is None


def test_only_what_changed_is_copied():
    sanitizers = compile_schema_sanitizers({"properties": {"a": TEXT, "b": {"items": TEXT}}})
    value = {"a": "e\u0301", "b": ["x"], "c": ["e\u0301"]}
    cleaned = sanitizers.apply(value)
    assert cleaned == {"a": "é", "b": ["x"], "c": ["e\u0301"]}
    assert cleaned["b"] is value["b"]
    assert value["a"] == "e\u0301"
    assert sanitizers.apply(cleaned) is cleaned


def test_null_passes_where_the_schema_allows_it():
    nullable = {"type": ["string", "null"], "x-podium-sanitize": {"text": {}}}
    assert field_refused(member(nullable), {"x": None}) is None
    assert field_refused(member(TEXT), {"x": None}) == "arguments.x"


def test_of_alternatives_those_apply_that_the_value_may_satisfy():
    file = {"required": ["kind"], "properties": {"kind": {"const": "file"}, "at": PATH}}
    web = {"required": ["kind"], "properties": {"kind": {"enum": ["web"]}, "at": URL}}
    schema = {"oneOf": [file, web]}
    assert field_refused(schema, {"kind": "web", "at": "https://example.org/"}) is None
    assert field_refused(schema, {"kind": "file", "at": "a/b"}) is None
    assert field_refused(schema, {"kind": "web", "at": "a/b"}) == "arguments.at"
    assert field_refused(schema, {"kind": "file", "at": "../b"}) == "arguments.at"
    # What tells them apart is not there, so both apply.
    assert field_refused({"anyOf": [{"properties": {"at": PATH}}, {"properties": {"at": URL}}]}, {"at": "a"})


def test_several_apply_with_the_cleaning_ones_first():
    both = {"url": {}, "text": {"normalize": "NFKC"}}
    sanitizers = compile_schema_sanitizers(member({"type": "string", "x-podium-sanitize": both}))
    with pytest.raises(Rejected) as raised:
        sanitizers.apply({"x": "https://\uff11\uff12\uff17.0.0.1/"})
    assert raised.value.reason == "ADDRESS_NOT_PUBLIC"


def test_what_a_cleaner_makes_after_a_check_is_checked_again():
    normalised = {"allOf": [{"x-podium-sanitize": {"text": {"normalize": "NFKC"}}}]}
    schema = member({**PATH, **normalised})
    # Harmless as it is; the normal form of the first letter is three dots and then some.
    assert field_refused(member(PATH), {"x": "a\u2025b"}) is None
    assert compile_schema_sanitizers(schema).apply({"x": "a\u2025b"}) == {"x": "a..b"}
    link = {"x": "~x"}
    assert field_refused(schema, link) == "arguments.x"
    assert field_refused(schema, {"x": "a\u2100"}) == "arguments.x"


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {".*": PATH}},
        {"unevaluatedProperties": PATH},
        {"propertyNames": PATH},
        {"contains": PATH},
        {"not": PATH},
        {"if": PATH},
        {"dependentSchemas": {"a": member(PATH)}},
        {"made-up": {"deep": [PATH]}},
        member(PATH, **{"$dynamicRef": "#x"}),
        member(PATH, **{"$ref": "#anchor"}),
        member(PATH, **{"$ref": "other.json"}),
        member(PATH, **{"$ref": "#/$defs/none"}),
        *({keyword: REFERENCE, "$defs": {"p": PATH}} for keyword in ("unevaluatedProperties", "propertyNames", "if")),
        {"patternProperties": {".*": REFERENCE}, "$defs": {"p": PATH}},
        {"contains": {"properties": {"x": REFERENCE}}, "$defs": {"p": PATH}},
        {"dependentSchemas": {"a": {"$ref": "#/$defs/q"}}, "$defs": {"q": member(REFERENCE), "p": PATH}},
        {"unevaluatedItems": {"$ref": "#/$defs/none"}, **member(PATH)},
        member({"$ref": "#/$defs/a%20b"}, **{"$defs": {"a b": PATH, "a%20b": {}}}),
        {"allOf": [{"$ref": "#"}, PATH]},
        {"type": "string", "x-podium-sanitize": {}},
        {"type": "string", "x-podium-sanitize": ["path"]},
        {"type": "string", "x-podium-sanitize": {"nonsense": {}}},
        {"type": "string", "x-podium-sanitize": {"path": {}}},
        {"type": "integer", "x-podium-sanitize": {"text": {}}},
        {"type": ["string", "integer"], "x-podium-sanitize": {"text": {}}},
        {"type": "string", "x-podium-sanitize": {"command": {"programs": {"ls": []}}}},
    ],
)
def test_a_declaration_that_would_not_apply_is_refused(schema):
    with pytest.raises(SpecificationRefused):
        compile_schema_sanitizers(schema)


def test_references_below_other_keywords_are_accepted_where_they_lead_to_no_declaration():
    schema = {
        "contains": {"$ref": "#/$defs/plain"},
        "patternProperties": {"^n": {"$ref": "#/$defs/tree"}},
        "properties": {"x": REFERENCE},
        "$defs": {"p": PATH, "plain": {"type": "string"}, "tree": {"not": {"items": {"$ref": "#/$defs/tree"}}}},
    }
    assert field_refused(schema, {"x": "/etc/passwd"}) == "arguments.x"


@dataclass
class Source:
    place: Annotated[str, podium.sanitize.path(roots=["/srv/data"])]
    note: Annotated[str, podium.sanitize.text()] | None = None


def tool(
    source: Source,
    links: list[Annotated[str, "what to read", podium.sanitize.text(), podium.sanitize.url(hosts=["*.example.org"])]],
    command: Annotated[list[str], podium.sanitize.command(programs={"ls": []})],
) -> str:
    return ""


def test_a_tool_declares_beside_its_types():
    schema = json.loads(Signature.of(tool).input_schema_json)
    assert schema["properties"]["links"]["items"] == {
        "type": "string",
        "description": "what to read",
        "x-podium-sanitize": {"text": {}, "url": {"hosts": ["*.example.org"]}},
    }
    good = {"source": {"place": "a", "note": None}, "links": ["https://a.example.org/"], "command": ["ls"]}
    assert field_refused(schema, good) is None
    assert field_refused(schema, {**good, "source": {"place": "../a"}}) == "arguments.source.place"
    assert field_refused(schema, {**good, "links": ["https://example.com/"]}) == "arguments.links[0]"
    assert field_refused(schema, {**good, "command": ["rm"]}) == "arguments.command"


def test_every_kind_has_its_declaration():
    declared = [
        podium.sanitize.path(roots=["/srv"], modes=["read"], max_length=10),
        podium.sanitize.url(schemes=["http"], hosts=["a.b"], ports=[81], networks=["10.0.0.0/8"], max_length=10),
        podium.sanitize.sql(dialect="sqlite", kinds=["select"], functions=["count"], tables=["t"], literals=True),
        podium.sanitize.html(tags=["b"], attributes={"b": []}, schemes=["http"], max_length=10),
        podium.sanitize.text(max_length=10, normalize="NFC", lines=False),
        podium.sanitize.json(schema={}, max_length=10, max_depth=1, max_values=1, max_string=1),
    ]
    for each in declared:
        assert compile_schema_sanitizers({"type": "string", **each}) is not None
    assert len({*declared, declared[0]}) == len(declared)
