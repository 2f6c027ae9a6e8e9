import json

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain.filling import fill
from service.domain.template_parsing import parse_json
from service.domain.templates import TemplateError

VALUE = json.dumps({"text": "x" * 1000})


class OneValue:
    """A scope in which every reference names the same value, and which counts how often it is asked."""

    asked = 0

    def text(self, reference: pb.Reference) -> str:
        self.asked += 1
        return VALUE


def naming_it(times, reference="${input}"):
    return parse_json(json.dumps([reference] * times), shorthand=False)


def test_a_value_that_is_named_too_often_is_refused_before_all_of_it_is_put_together():
    scope = OneValue()
    with pytest.raises(TemplateError, match="larger than 5000 bytes once its references are filled"):
        fill(naming_it(300), scope, limit_bytes=5000)
    assert scope.asked < 10


def test_what_fits_is_filled():
    assert json.loads(fill(naming_it(4), OneValue(), limit_bytes=5000)) == [json.loads(VALUE)] * 4


def test_a_value_that_many_paths_lead_into_is_read_once():
    scope = OneValue()
    fill(naming_it(50, "${input.text}"), scope)
    assert scope.asked == 1
