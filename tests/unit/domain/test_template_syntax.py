"""Templates by themselves: how JSON with holes is parsed and filled."""

import json

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain.filling import fill
from service.domain.template_parsing import check_literal, parse_json, parse_reference
from service.domain.templates import TemplateError, describe, referenced_steps


class Values(dict[str, object]):
    """What references stand for, by how they are written without their path."""

    def text(self, reference):
        root = pb.Reference()
        root.CopyFrom(reference)
        del root.path[:]
        return json.dumps(self[describe(root)[2:-1]])


def parsed(value, *, shorthand=False):
    return parse_json(json.dumps(value), shorthand=shorthand)


def filled(value, *, shorthand=False, **values):
    scope = Values({name.replace("__", "."): found for name, found in values.items()})
    return json.loads(fill(parsed(value, shorthand=shorthand), scope))


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "", "text", "$", "{}", "a $ {b}", [], {}, [1, {"a": [None]}]])
def test_a_value_without_holes_is_a_literal(value):
    template = parsed(value)
    assert template.WhichOneof("kind") == "literal_json"
    assert filled(value) == value


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", "", [1, "2"], {"a": {"b": None}}])
def test_a_reference_that_is_the_whole_string_keeps_its_type(value):
    assert filled("${input}", input=value) == value


@pytest.mark.parametrize("text", ["${input.a}", "${ input.a }", '${input["a"]}'])
def test_a_reference_walks_into_its_value(text):
    assert filled(text, input={"a": [1, 2]}) == [1, 2]


@pytest.mark.parametrize(("index", "expected"), [(0, 10), (2, 30), (-1, 30), (-3, 10)])
def test_an_index_counts_from_the_start_or_from_the_end(index, expected):
    assert filled(f"${{input[{index}]}}", input=[10, 20, 30]) == expected


def test_members_of_any_name_are_reached_with_quotes():
    assert filled('${input["a b.c"][0]["d"]}', input={"a b.c": [{"d": 4}]}) == 4


@pytest.mark.parametrize(
    ("value", "text"), [("plain", "plain"), (3, "3"), (True, "true"), (None, "null"), ([1, "x"], '[1,"x"]')]
)
def test_inside_a_text_strings_stand_as_they_are_and_the_rest_as_json(value, text):
    assert filled("<${input.v}>", input={"v": value}) == f"<{text}>"


def test_several_references_make_one_text():
    assert (
        filled("${input.a}${input.b}, ${steps.s.state}", input={"a": 1, "b": "2"}, steps__s__state="done") == "12, done"
    )


def test_an_escape_is_the_text_of_a_hole():
    template = parsed("$${input.a}")
    assert template.WhichOneof("kind") == "literal_json"
    assert filled("$${input.a}") == "${input.a}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$${a} ${input} $${b}", "${a} 5 ${b}"),
        ("$${${input}}", "${5}"),
        ("$$${input}", "$${input}"),
        ("$$ ${input}", "$$ 5"),
    ],
)
def test_escapes_and_references_stand_side_by_side(text, expected):
    assert filled(text, input=5) == expected


@pytest.mark.parametrize("poison", ["${steps.secret.output}", "$${x}", "${", '"}, "admin": true, {"'])
def test_what_fills_a_hole_is_never_scanned_again(poison):
    assert filled({"q": "${input}", "text": "<${input}>"}, input=poison) == {"q": poison, "text": f"<{poison}>"}


def test_the_name_of_a_member_is_taken_literally():
    assert filled({"${input}": "${input}"}, input=1) == {"${input}": 1}


def test_holes_are_found_at_any_depth_and_the_rest_stays():
    value = {"a": [1, {"b": "${input}"}, "x"], "c": {"d": None}, "e": "z"}
    assert filled(value, input=9) == {"a": [1, {"b": 9}, "x"], "c": {"d": None}, "e": "z"}


def test_text_of_any_script_survives():
    value = {"größe": "日本 ${input} 🚀"}
    assert filled(value, input="ß") == {"größe": "日本 ß 🚀"}


def test_half_of_a_surrogate_pair_in_a_value_is_filled_as_an_escape():
    template = parsed({"q": "${input.half}", "s": "<${input.half}>"})
    text = fill(template, Values(input={"half": "\ud83d"}))
    assert json.loads(text) == {"q": "\ud83d", "s": "<\ud83d>"}
    assert text.isascii(), "no message holds a lone surrogate in any other form"


@pytest.mark.parametrize(
    "text",
    ['{"a":}', "", "NaN", "[Infinity]", "1e999", '"\\ud83d"', '{"\\ud83d": 1}', "[" * 5000, "9" * 5000, "{'a': 1}"],
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(TemplateError, match="is not valid JSON"):
        parse_json(text, shorthand=False)
    with pytest.raises(TemplateError, match="is not valid JSON"):
        check_literal(text)


def nested(depth):
    return "[" * depth + "1" + "]" * depth


def test_a_value_may_be_nested_so_deeply_and_no_deeper():
    parse_json(nested(64), shorthand=False)
    check_literal(nested(64))
    with pytest.raises(TemplateError, match="nested too deeply"):
        parse_json(nested(65), shorthand=False)
    with pytest.raises(TemplateError, match="nested too deeply"):
        check_literal(nested(65))


@pytest.mark.parametrize("text", ["${", "a ${input", "${}}", "${a{b}}", "$${} ${"])
def test_an_unfinished_reference_is_refused_with_the_remedy(text):
    with pytest.raises(TemplateError, match=r"unfinished reference|nothing known"):
        parsed(text)


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "x",
        "inputs",
        "steps",
        "steps.a",
        "steps.a.outputs",
        "steps.A.output",
        "steps.a-b.output",
        "steps.a[0].output",
        "input.",
        "input..a",
        "input[a]",
        "input[1.5]",
        "input[1",
        "input a",
        "items",
        'input["\\x"]',
        'input["\\ud83d"]',
        "input[1234567890]",
    ],
)
def test_a_reference_that_does_not_parse_is_refused(inside):
    with pytest.raises(TemplateError, match="reference"):
        parse_reference(inside)


@pytest.mark.parametrize(
    "inside",
    ["input", "item", "index", "item.a", "steps.a.output", "steps.a.state", "steps._x1.output[0].b", "input[-1].c-d"],
)
def test_a_reference_reads_as_it_was_written(inside):
    assert describe(parse_reference(inside)) == f"${{{inside}}}"


@pytest.mark.parametrize(
    ("inside", "value"),
    [("input.b", {"a": 1}), ("input[1]", [1]), ("input[-2]", [1]), ("input.a", [1]), ("input[0]", {"0": 1})],
)
def test_a_path_that_leads_nowhere_is_an_error_that_names_it(inside, value):
    with pytest.raises(TemplateError, match=r"\$\{input.* leads nowhere"):
        filled(f"${{{inside}}}", input=value)


@pytest.mark.parametrize("inside", ["input.a", "input.a.b", "item.a"])
def test_a_path_into_a_null_that_is_no_output_leads_nowhere(inside):
    with pytest.raises(TemplateError, match="leads nowhere"):
        filled(f"${{{inside}}}", input=None, item=None)


def test_a_path_into_the_null_output_of_a_step_is_null():
    assert filled(["${steps.a.output.b[0].c}", "<${steps.a.output.b}>"], steps__a__output=None) == [None, "<null>"]


def test_a_path_that_ends_at_a_null_is_null():
    assert filled("${input.a}", input={"a": None}) is None
    with pytest.raises(TemplateError, match="leads nowhere"):
        filled("${steps.a.output.b.c}", steps__a__output={"b": None})


def test_a_number_that_json_cannot_say_is_refused_where_it_would_be_written():
    class Infinite:
        def text(self, reference):
            return '{"a": 1e999}'

    with pytest.raises(ValueError, match="Out of range"):
        fill(parsed("${input.a}"), Infinite())


def test_the_steps_a_template_names_are_found():
    value = {"a": "${steps.x.output}", "b": ["<${steps.y.state}${steps.x.output.z}>"], "c": "${input}"}
    assert list(referenced_steps(parsed(value))) == ["x", "y", "x"]


def test_shorthand_makes_a_reference_of_a_text_that_is_exactly_a_default_id():
    assert filled(
        {"a": "step_1", "b": ["step_12"]}, shorthand=True, steps__step_1__output=[1], steps__step_12__output=2
    ) == {
        "a": [1],
        "b": [2],
    }


@pytest.mark.parametrize("text", ["step_0", "step_01", "step_1 ", "see step_1", "Step_1", "step_1.x", "step_"])
def test_shorthand_leaves_every_other_text_alone(text):
    assert filled(text, shorthand=True) == text


def test_without_shorthand_the_same_text_is_only_text():
    assert filled({"a": "step_1"}) == {"a": "step_1"}


def test_shorthand_and_holes_mix():
    assert filled(["step_1", "${input}"], shorthand=True, steps__step_1__output=1, input=2) == [1, 2]
