"""Sanitizers at admission: what they refuse is named by its field, what they clean is what the tool gets."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.sanitizers.html import HtmlSanitizer
from podium.v1 import definition_pb2, policy_pb2
from service.admission.pipeline import Pipeline
from service.admission.sanitizing import SanitizerGuard, clean_arguments, sanitizers_of
from service.admission.schema import SchemaGuard, check_definition, check_template
from service.admission.verdicts import ALLOWED, Allowed, Denied
from service.domain.filling import fill
from service.domain.permissions import DEFAULT_POLICY
from service.domain.template_parsing import parse_json
from tests.unit.admission.calls import SCHEMA, a_request, a_tool

SCHEMA_OF_FILES = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "x-podium-sanitize": {"path": {"roots": ["/srv/data"]}}},
        "note": {"type": "string", "x-podium-sanitize": {"text": {}}},
        "page": {"type": "string", "x-podium-sanitize": {"html": {}}},
        "argv": {"type": "array", "x-podium-sanitize": {"command": {"programs": {"ls": [".*"]}}}},
        "number": {"type": ["integer", "array"]},
    },
}  # fmt: skip
OUTSIDE = "/etc/passwd-hunter2"


def guard(policy=DEFAULT_POLICY):
    return SanitizerGuard(lambda _tenant: policy)


def check(arguments, policy=DEFAULT_POLICY):
    return guard(policy).check(a_request(json.dumps(arguments), a_tool(schema=SCHEMA_OF_FILES)), 0)


def test_a_tool_without_sanitizers_passes():
    assert guard().check(a_request(), 0) is ALLOWED


def test_arguments_that_need_no_cleaning_pass_as_they_are():
    assert check({"path": "/srv/data/report.txt", "note": "fine"}) is ALLOWED


PAGE = SCHEMA_OF_FILES["properties"]["page"]
MANY = {"type": "object", "properties": {"v": {"type": "array", "items": PAGE}}}
MANY_PAGES = ["<p>text</p>"] * 2_000


def test_more_values_than_can_be_sanitized_at_once_are_refused_by_the_first_of_them_that_is():
    verdict = guard().check(a_request(json.dumps({"v": MANY_PAGES}), a_tool(schema=MANY)), 0)
    assert isinstance(verdict, Denied)
    assert (verdict.guard, verdict.reason) == ("html", "TOO_MUCH")
    assert verdict.field.startswith("arguments.v[")
    assert verdict.failure.message.endswith("split them")
    template = parse_json(json.dumps({"v": MANY_PAGES}), shorthand=False)
    assert [str(field) for field, _ in check_template(a_tool(schema=MANY), template)] == [verdict.field]


def test_without_a_limit_all_of_them_are_sanitized():
    value = {"v": MANY_PAGES}
    assert sanitizers_of(json.dumps(MANY)).apply(value) is value


def test_short_arguments_have_the_same_limit():
    schema = {"type": "object", "properties": {"v": {"type": "array", "items": {"allOf": [PAGE] * 100}}}}
    text = json.dumps({"v": [""] * 500}, separators=(",", ":"))
    assert len(text) < 4096
    verdict = guard().check(a_request(text, a_tool(schema=schema)), 0)
    assert (verdict.guard, verdict.reason) == ("html", "TOO_MUCH")


def test_walking_to_where_sanitizers_are_counts_although_there_is_nothing_for_them():
    within = {"properties": {"page": PAGE}}
    schema = {"type": "object", "properties": {"v": {"type": "array", "items": {"allOf": [within] * 1_000}}}}
    tool = a_tool(schema=schema)
    assert guard().check(a_request(json.dumps({"v": [""] * 50}), tool), 0) is ALLOWED
    verdict = guard().check(a_request(json.dumps({"v": [""] * 1_000}), tool), 0)
    assert (verdict.guard, verdict.reason) == ("sanitizer", "TOO_MUCH")


@pytest.mark.parametrize("alternative", ["anyOf", "oneOf"])
def test_looking_for_the_alternative_that_applies_counts_although_none_does(alternative):
    marked = [{"const": f"k{number}", "x-podium-sanitize": {"text": {}}} for number in range(1_000)]
    schema = {"type": "object", "properties": {"v": {"type": "array", "items": {alternative: marked}}}}
    tool = a_tool(schema=schema)
    assert guard().check(a_request(json.dumps({"v": ["none"] * 50}), tool), 0) is ALLOWED
    verdict = guard().check(a_request(json.dumps({"v": ["none"] * 500}), tool), 0)
    assert (verdict.guard, verdict.reason) == ("text", "TOO_MUCH")
    assert verdict.field.startswith("arguments.v[")


def test_what_is_cleaned_goes_through_the_sanitizers_twice(monkeypatch):
    seen = []
    check = HtmlSanitizer.check
    monkeypatch.setattr(HtmlSanitizer, "check", lambda self, value: seen.append(value) or check(self, value))
    request = a_request(json.dumps({"v": ["<i q>x</i>"] * 10}), a_tool(schema=MANY))
    assert json.loads(guard().check(request, 0).arguments_json) == {"v": ["<i>x</i>"] * 10}
    assert len(seen) == 2 * 10


def test_one_value_is_never_too_much():
    page = "<p>text</p>" * 5_000
    assert guard().check(a_request(json.dumps({"v": [page]}), a_tool(schema=MANY)), 0) is ALLOWED


def test_a_refusal_names_the_field_the_sanitizer_and_the_reason_and_not_the_value():
    verdict = check({"path": OUTSIDE})
    assert isinstance(verdict, Denied)
    assert (verdict.guard, verdict.field, verdict.reason) == ("path", "arguments.path", "PATH_OUTSIDE_ROOTS")
    assert (verdict.failure.reason, verdict.failure.field) == ("INPUT_REJECTED", "arguments.path")
    assert verdict.failure.message.startswith("arguments.path ")
    assert "hunter2" not in str(verdict)


def test_the_refusal_is_an_event():
    admission = Pipeline([guard()]).admit(a_request(json.dumps({"path": OUTSIDE}), a_tool(schema=SCHEMA_OF_FILES)), 0)
    rejected = admission.input_rejected
    assert (rejected.field, rejected.guard, rejected.reason) == ("arguments.path", "path", "PATH_OUTSIDE_ROOTS")
    assert "hunter2" not in str(admission)


def test_what_is_cleaned_is_what_the_tool_gets_and_everything_else_stays_as_it_was():
    large = [2**80, 2**53 + 1, {"n": 2**70, "none": None, "yes": True, "part": 0.1}]
    text = json.dumps({"page": "<b>x</b><script>y</script>", "number": large, "note": "é"})
    request = a_request(text, a_tool(schema=SCHEMA_OF_FILES))
    before = request.arguments_digest
    admission = Pipeline([SchemaGuard(), guard()]).admit(request, 0)
    assert isinstance(admission.verdict, Allowed)
    assert json.loads(request.arguments_json) == {"page": "<b>x</b>", "number": large, "note": "é"}
    assert request.arguments == json.loads(request.arguments_json) | {
        "number": [float(2**80), 2**53 + 1, {**large[2], "n": float(2**70)}]
    }
    assert request.arguments_digest != before
    assert clean_arguments(request.tool, text) == request.arguments_json
    assert clean_arguments(a_tool(), text) == text


def with_patterns(*patterns):
    return dataclasses.replace(DEFAULT_POLICY, patterns=patterns)


def test_an_operators_patterns_are_searched_for_in_texts_alone_and_follow_the_policy():
    apollo = policy_pb2.ContentPattern(id="codename", expression="(?i)apollo", refuse_input=True)
    policies = [with_patterns(apollo)]
    asked = SanitizerGuard(lambda _tenant: policies[-1])

    def ask(arguments):
        return asked.check(a_request(json.dumps(arguments), a_tool(schema=SCHEMA_OF_FILES)), 0)

    verdict = ask({"note": "about Apollo"})
    assert (verdict.guard, verdict.field, verdict.reason) == ("text", "arguments.note", "CONTENT_PATTERN")
    assert "codename" in verdict.failure.message
    assert ask({"path": "/srv/data/apollo"}) is ALLOWED
    policies.append(with_patterns(policy_pb2.ContentPattern(id="codename", expression="apollo", redact_output=True)))
    assert ask({"note": "about Apollo"}) is ALLOWED


def test_a_pattern_that_does_not_compile_denies():
    broken = with_patterns(policy_pb2.ContentPattern(id="p", expression="(", refuse_input=True))
    request = a_request(json.dumps({"note": "x"}), a_tool(schema=SCHEMA_OF_FILES))
    admission = Pipeline([guard(broken)]).admit(request, 0)
    assert admission.verdict.failure.reason == "GUARD_ERROR"


@pytest.mark.parametrize(
    "declared",
    [{"path": {}}, {"path": {"roots": "x"}}, {"nothing": {}}, {"path": {"roots": ["/a"], "typo": 1}}, "path", {}],
)
def test_a_wrong_declaration_is_refused_when_the_tool_is_registered(declared):
    schema = {"type": "object", "properties": {"p": {"type": "string", "x-podium-sanitize": declared}}}
    [(field, message)] = check_definition(a_tool(schema=schema))
    assert field == "input_schema_json"
    assert "sanitize" in message
    of_output = check_definition(a_tool(output_schema_json=json.dumps(schema)))
    assert [field for field, _ in of_output] == ["output_schema_json"]


def test_right_declarations_are_accepted():
    assert check_definition(a_tool(schema=SCHEMA_OF_FILES)) == []


@pytest.mark.parametrize(("names", "field"), [(["."], 0), (["a/b"], 0), (["ok", "ok"], 1), ([""], 0), (["-x"], 0)])
def test_names_of_secrets_are_names_of_files(names, field):
    assert [each for each, _ in check_definition(a_tool(secrets=names))] == [f"secrets[{field}]"]
    assert check_definition(a_tool(secrets=["api-key", "API_KEY.2"])) == []
    assert [each for each, _ in check_definition(a_tool(secrets=[f"s{n}" for n in range(17)]))] == ["secrets"]


# At submission.


def template_check(arguments, schema=SCHEMA_OF_FILES):
    return check_template(a_tool(schema=schema), parse_json(json.dumps(arguments), shorthand=False))


def test_literal_arguments_are_checked_before_anything_is_recorded():
    [(field, message)] = template_check({"path": OUTSIDE})
    assert field == "arguments.path"
    assert "hunter2" not in message
    assert template_check({"path": "/srv/data/x", "note": "fine"}) == []
    assert template_check({"query": "ab"}, SCHEMA) == []


def test_a_literal_beside_a_hole_is_checked_and_what_fills_a_hole_is_not_guessed():
    assert [field for field, _ in template_check({"path": OUTSIDE, "note": "${input}"})] == ["arguments.path"]
    assert template_check({"path": "${input}", "note": "${input.x} and more"}) == []
    assert template_check("${input}") == []
    # A command is judged as a whole.
    assert template_check({"argv": ["rm", "${input}"]}) == []
    assert [field for field, _ in template_check({"argv": ["rm", "x"]})] == ["arguments.argv"]


def test_which_alternative_applies_is_not_guessed_from_a_hole():
    local = {"if": {"properties": {"mode": {"const": "local"}}}, "then": SCHEMA_OF_FILES}
    schema = {"type": "object", "properties": {"mode": {"type": "string"}}, **local}
    assert template_check({"mode": "${input}", "path": OUTSIDE}, schema) == []
    assert [field for field, _ in template_check({"mode": "local", "path": OUTSIDE}, schema)] == ["arguments.path"]


def test_a_template_of_a_tool_with_a_wrong_declaration_cannot_be_checked():
    tool = definition_pb2.ToolDefinition(
        name="old", input_schema_json='{"type":"object","x-podium-sanitize":{"nothing":{}}}'
    )
    [(field, message)] = check_template(tool, parse_json("{}", shorthand=False))
    assert field == "arguments"
    assert "cannot be checked" in message


class Everywhere:
    """Fills every hole with the same value."""

    def __init__(self, value):
        self._text = json.dumps(value)

    def text(self, reference):
        return self._text


texts = st.sampled_from(["/srv/data/a", OUTSIDE, "a\x00b", "plain", "${input}", "/srv/${input}"])
templates = st.fixed_dictionaries(
    {},
    optional={
        "path": texts,
        "note": texts,
        "page": texts,
        "argv": st.lists(st.sampled_from(["ls", "rm", "-l", "${input}"]), min_size=1, max_size=3),
    },
)


@given(templates, st.sampled_from(["/srv/data/a", "ls", "../../etc", "x"]))
@settings(deadline=None)
def test_what_is_refused_at_submission_is_refused_at_the_attempt_whatever_fills_the_holes(arguments, filling):
    template = parse_json(json.dumps(arguments), shorthand=False)
    filled = fill(template, Everywhere(filling))
    verdict = guard().check(a_request(filled, a_tool(schema=SCHEMA_OF_FILES)), 0)
    if isinstance(verdict, Allowed):
        assert template_check(arguments) == []
    elif "${" not in json.dumps(arguments):
        assert [field for field, _ in template_check(arguments)] == [verdict.field]
