"""What takes the place of a step's failure: a link of its fallback chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.durations import Duration, milliseconds
from podium.errors import InvalidInput
from podium.json_text import to_json
from podium.v1 import definition_pb2

if TYPE_CHECKING:
    from podium.workflow import Retry


@dataclass(frozen=True, slots=True)
class Fallback:
    """A link, made by `Fallback.tool`, `Fallback.stale` or `Fallback.value` and given to `step.fallback`.

    Each takes `on`, the reasons it is tried on: reasons of failures such as "TIMEOUT", "DENIED" for any refusal by
    admission, "EXHAUSTED" for a failure that was repeated as often as allowed, "*" for any. Without: every failure, but
    no denial.
    """

    _link: definition_pb2.Fallback
    _arguments: Mapping[str, object] | None = None

    @classmethod
    def tool(
        cls,
        tool: str,
        arguments: Mapping[str, object] | None = None,
        *,
        on: Iterable[str] = (),
        retry: Retry | None = None,
    ) -> Fallback:
        """Another tool, with arguments of its own or the step's; its failures are repeated as the step's or as said."""
        link = definition_pb2.Fallback(on=_reasons(on))
        link.tool.tool = tool
        if retry is not None:
            link.tool.retry.CopyFrom(retry.message())
        return cls(link, arguments)

    @classmethod
    def stale(cls, *, max_age: Duration | None = None, on: Iterable[str] = ()) -> Fallback:
        """The last cached result of the step's own call, at most this old; as old as the cache keeps if not said.

        Raises:
            InvalidInput: `max_age` is 0, which no result is.
        """
        max_age_ms = milliseconds(max_age)
        if max_age is not None and not max_age_ms:
            remedy = "leave it out for a result of any age"
            raise InvalidInput(f"max_age must be more than 0: {remedy}", field="fallback.stale")
        stale = definition_pb2.StaleFallback(max_age_ms=max_age_ms)
        return cls(definition_pb2.Fallback(on=_reasons(on), stale=stale))

    @classmethod
    def value(cls, value: object, *, on: Iterable[str] = ()) -> Fallback:
        """A value that is known beforehand."""
        try:
            return cls(definition_pb2.Fallback(on=_reasons(on), value_json=to_json(value)))
        except ValueError as error:
            raise InvalidInput(str(error), field="fallback") from None

    def message(self, template: Callable[[object, str], definition_pb2.Template]) -> definition_pb2.Fallback:
        """Returns the link as the contract writes it. `template` makes one of a value and the path where it stands."""
        link = definition_pb2.Fallback()
        link.CopyFrom(self._link)
        if self._arguments is not None:
            link.tool.arguments.CopyFrom(template(self._arguments, "fallback.arguments"))
        return link


def _reasons(on: Iterable[str]) -> list[str]:
    if isinstance(on, str):
        raise InvalidInput("on= is a list of reasons, not one text", field="fallback.on")
    return list(on)
