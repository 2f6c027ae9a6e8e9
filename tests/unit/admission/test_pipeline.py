"""The order of the guards, what they put on record, and that admission fails closed."""

import hashlib
import logging

import pytest

from podium.v1 import events_pb2, value_pb2
from service.admission import tool_request
from service.admission.permission import PermissionGuard
from service.admission.pipeline import Pipeline
from service.admission.schema import SchemaGuard
from service.admission.verdicts import ALLOWED, Allowed, Answered, Denied, Wait
from service.domain.permissions import DEFAULT_POLICY
from tests.unit.admission.calls import a_request, a_tool, an_authority


class Scripted:
    """A guard that says what it was told to, and remembers being asked."""

    def __init__(self, name, answer, asked):
        self.name = name
        self._answer = answer
        self._asked = asked

    def check(self, request, now_us):
        self._asked.append(self.name)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def run(*answers):
    asked = []
    pipeline = Pipeline([Scripted(f"guard{n}", answer, asked) for n, answer in enumerate(answers)])
    return pipeline.admit(a_request(), 0), asked


DENIAL = Denied("guard1", value_pb2.Failure(reason="NO"))


def test_guards_are_asked_in_the_order_they_are_given():
    admission, asked = run(ALLOWED, ALLOWED, ALLOWED)
    assert asked == ["guard0", "guard1", "guard2"]
    assert isinstance(admission.verdict, Allowed)


@pytest.mark.parametrize(
    "answer", [DENIAL, Answered(value_pb2.Value(json="1")), Wait(5, "a slot"), RuntimeError("broken")]
)
def test_no_guard_runs_after_one_that_did_not_allow(answer):
    _, asked = run(ALLOWED, answer, ALLOWED)
    assert asked == ["guard0", "guard1"]


def test_an_answer_and_a_wait_are_handed_on():
    assert run(Wait(5, "a slot"))[0].verdict == Wait(5, "a slot")
    assert run(Answered(value_pb2.Value(json="1")))[0].verdict == Answered(value_pb2.Value(json="1"))


def test_an_error_in_a_guard_denies_and_names_the_guard():
    admission, _ = run(ALLOWED, KeyError("x"))
    assert isinstance(admission.verdict, Denied)
    assert admission.verdict.guard == "guard1"
    assert admission.verdict.failure.reason == "GUARD_ERROR"
    assert not admission.verdict.failure.retryable


def test_the_text_of_a_guards_error_is_neither_recorded_nor_logged(caplog):
    with caplog.at_level(logging.ERROR):
        admission, _ = run(ValueError("password is hunter2"))
    assert "hunter2" not in admission.verdict.failure.message
    assert "hunter2" not in caplog.text
    assert "guard0 raised ValueError" in caplog.text
    assert "in check" in caplog.text


def test_the_same_guards_without_the_error_allow():
    assert isinstance(run(ALLOWED, ALLOWED)[0].verdict, Allowed)


def test_a_denial_for_the_input_says_which_field():
    failure = value_pb2.Failure(reason="INVALID_ARGUMENTS", message="arguments.q is required")
    admission, _ = run(Denied("schema", failure, "arguments.q"))
    assert admission.input_rejected == events_pb2.InputRejected(
        step_id="look", field="arguments.q", guard="schema", message="arguments.q is required"
    )
    assert run(DENIAL)[0].input_rejected is None


def real():
    return Pipeline([PermissionGuard(lambda tenant: DEFAULT_POLICY), SchemaGuard()])


def test_what_was_allowed_is_on_record_when_a_later_guard_denies():
    admission = real().admit(a_request("{}"), 0)
    assert isinstance(admission.verdict, Denied)
    assert admission.verdict.guard == "schema"
    assert admission.permission_checked.decision == events_pb2.DECISION_ALLOW
    assert admission.input_rejected.field == "arguments.query"


def test_arguments_are_not_looked_at_when_the_permission_is_missing():
    admission = real().admit(a_request("{}", authority=an_authority("viewer")), 0)
    assert admission.verdict.guard == "permission"
    assert admission.input_rejected is None


def test_equal_arguments_have_equal_digests_however_they_are_written():
    digest = a_request('{"a":1,"b":[1.0,"é"]}').arguments_digest
    assert digest == a_request('{ "b" : [1.0, "\\u00e9"], "a" : 1 }').arguments_digest
    assert digest == hashlib.sha256('{"a":1,"b":[1.0,"é"]}'.encode()).digest()
    assert digest != a_request('{"a":2,"b":[1.0,"é"]}').arguments_digest


LARGE = 2**64


@pytest.mark.parametrize("number", [LARGE, -LARGE, LARGE - 1, 2**63, 10**25 + 1, 10**300 + 1])
def test_arguments_that_differ_in_a_large_whole_number_have_different_digests(number):
    texts = [f'{{"b":{number},"a":[1e+30,"e+"]}}', f'{{ "a" : [1e30, "e\\u002b"], "b" : {number}}}']
    first, again = (a_request(text).arguments_digest for text in texts)
    assert first == again
    assert first != a_request(texts[0].replace(str(number), str(number + 1))).arguments_digest


def test_it_is_found_when_a_large_whole_number_is_rounded(monkeypatch):
    monkeypatch.setattr(tool_request, "ROUNDED", b"never")
    first, second = (a_request(f'{{"b":{number}}}').arguments_digest for number in (LARGE, LARGE + 1))
    assert first == second


def test_a_large_number_that_is_no_whole_one_has_the_digest_of_what_was_read():
    text = '{"a":1e+30,"b":"e+"}'
    assert a_request(text).arguments_digest == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize("text", ["{", "", "NaN", "[" * 2000 + "]" * 2000, "[" * 300 + "]" * 300])
def test_text_that_cannot_be_parsed_has_a_digest_too(text):
    assert a_request(text).arguments_digest == hashlib.sha256(text.encode()).digest()


def test_a_tool_that_needs_nothing_is_checked_and_recorded_too():
    admission = real().admit(a_request(tool=a_tool(permissions=()), authority=an_authority()), 0)
    assert isinstance(admission.verdict, Allowed)
    assert admission.permission_checked.rule == "no-permission-required"


class Old:
    """One old result."""

    def __init__(self, answer=None):
        self._answer = answer or Answered(value_pb2.Value(json="1"), events_pb2.CacheHit(stale=True))
        self.asked = 0

    def stale(self, request, max_age_us, now_us):
        self.asked += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def old_result(old, *permitting, behind=()):
    asked = []
    guards = [Scripted(f"guard{n}", answer, asked) for n, answer in enumerate([*permitting, *behind])]
    pipeline = Pipeline(guards, permitting=guards[: len(permitting)], stale=old)
    return pipeline.old_result(a_request(), 1000, 0), asked


def test_an_old_result_is_for_those_whom_every_guard_of_permissions_allows():
    check = events_pb2.PermissionChecked(tool="search")
    found, asked = old_result(Old(), Allowed(check), ALLOWED, behind=[DENIAL])
    assert found.verdict.value.json == "1"
    assert found.permission_checked == check
    assert asked == ["guard0", "guard1"]


@pytest.mark.parametrize("refusal", [DENIAL, KeyError("x")])
def test_who_is_denied_the_tool_is_denied_its_old_results(refusal):
    old = Old()
    found, _ = old_result(old, ALLOWED, refusal)
    assert isinstance(found.verdict, Denied)
    assert old.asked == 0


@pytest.mark.parametrize("verdict", [Wait(5, "a slot"), Answered(value_pb2.Value(json="2"))])
def test_whatever_is_no_permission_gives_no_old_result(verdict):
    old = Old()
    assert old_result(old, verdict)[0] is None
    assert old.asked == 0


def test_a_cache_that_fails_has_no_old_result_and_says_nothing_of_its_values(caplog):
    assert old_result(Old(OSError("hunter2")), ALLOWED)[0] is None
    assert "hunter2" not in caplog.text


def test_a_service_without_a_cache_has_no_old_results():
    assert old_result(None, ALLOWED)[0] is None
