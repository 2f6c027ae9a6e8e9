"""How settings are found: in a command's options, the environment, a file, else their defaults; and what is wrong.

In the environment a setting's name is PODIUM_ and the field's in capitals; those of limits, retry and cache begin with
PODIUM_LIMIT_, PODIUM_RETRY_ and PODIUM_CACHE_. In a file, TOML, it has the field's name in its section's table. What is
empty is not set. Invariant: no problem tells the value of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from service.domain.addresses import Network, parse_network
from service.settings.file import ConfigFile
from service.settings.tokens import PublicKeyFile

PREFIX = "PODIUM_"
CONFIG_NAME = "PODIUM_CONFIG"
"""Names the file of settings."""
_CLIENT_NAMES = frozenset(
    {
        "PODIUM_ADDRESS",
        "PODIUM_TOKEN",
        "PODIUM_DEV_FILE",
        "PODIUM_TLS_CA_FILE",
        "PODIUM_TLS_CLIENT_CERTIFICATE_FILE",
        "PODIUM_TLS_CLIENT_KEY_FILE",
    }
)
_PREFIXES = {"limits": "LIMIT_", "retry": "RETRY_", "cache": "CACHE_"}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NAME = re.compile(rf"{PREFIX}[A-Z0-9_]+")


class Setting(NamedTuple):
    """Something that can be set."""

    section: str
    name: str
    kind: object
    """Its type."""
    default: Any
    is_secret: bool
    """Whether it may hold what nobody should read."""

    @property
    def key(self) -> str:
        """Its name in a file."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"{PREFIX}{_PREFIXES.get(self.section, '')}{self.name.upper()}"


class Origin(StrEnum):
    """Where a setting's value comes from."""

    DEFAULT = "default"
    OPTION = "option"
    ENVIRONMENT = "environment"
    FILE = "file"


class Source(NamedTuple):
    """Where a setting's value comes from, and where there."""

    origin: Origin
    place: str = ""
    """The option, the variable, or the file with the line."""


class Option(NamedTuple):
    """What an option of a command says."""

    name: str
    """As it is written: --database."""
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found, by section and by name; settings that keep their defaults are not in it."""

    values: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, Source]
    """Of those that are set, by key."""
    problems: Sequence[str]
    unread: AbstractSet[str]
    """The variables of what is set and cannot be read, so that `values` does not have it."""
    keys: Mapping[str, str]
    """The name in a file of each variable."""

    def located(self, problems: Iterable[str]) -> Iterator[str]:
        """Problems that name variables, with the names where these were set: what the file made behind its place there.

        What is said of a setting that could not be read is left out: it is said of a default that nobody chose.
        """
        for problem in problems:
            names = _NAME.findall(problem)
            if not self.unread.isdisjoint(names):
                continue
            sources = [self.sources[name] for name in names if name in self.sources]
            place = next((source.place for source in sources if source.origin is Origin.FILE), "")
            told = _NAME.sub(partial(self._called, of_file=bool(place)), problem)
            yield f"{place}: {told}" if place else told

    def _called(self, variable: re.Match[str], *, of_file: bool) -> str:
        """What a setting is called where it was set; one that was not, as in a file or in the environment."""
        name = variable[0]
        source = self.sources.get(name)
        if source is not None and source.origin in (Origin.OPTION, Origin.ENVIRONMENT):
            return source.place
        return self.keys.get(name, name) if of_file else name


def all_settings(sections: type) -> list[Setting]:
    """The settings of a class whose fields are sections, in their order."""
    found = []
    for section, kind in get_type_hints(sections).items():
        hints, defaults = get_type_hints(kind), kind()
        for each in fields(kind):
            default = getattr(defaults, each.name)
            found.append(Setting(section, each.name, hints[each.name], default, not each.repr))
    return found


def read_settings(
    settings: Sequence[Setting],
    environment: Mapping[str, str],
    file: ConfigFile | None,
    options: Mapping[str, Option],
) -> Reading:
    """Find the settings. The options are by the variables of what they set."""
    values: dict[str, dict[str, Any]] = {}
    sources: dict[str, Source] = {}
    problems = list(_unknown_in(file, settings)) if file is not None else []
    unread = set()
    for setting in settings:
        source, parse, raw = _raw(setting, environment, file, options)
        if source.origin is Origin.DEFAULT:
            continue
        try:
            values.setdefault(setting.section, {})[setting.name] = parse(raw, setting.kind)
            sources[setting.key] = sources[setting.variable] = source
        except ValueError as error:
            what = _WRONG_SECRET if setting.is_secret else str(error)
            name = f"{source.place}: {setting.key}" if source.origin is Origin.FILE else source.place
            problems.append(f"{name} {what}")
            unread.add(setting.variable)
    keys = {setting.variable: setting.key for setting in settings}
    problems += _misspelt(environment, {*keys, CONFIG_NAME})
    return Reading(values, sources, problems, unread, keys)


_WRONG_SECRET = "is not of its kind; its value is not repeated, because it may be a secret"  # noqa: S105 - no secret


def _raw(
    setting: Setting, environment: Mapping[str, str], file: ConfigFile | None, options: Mapping[str, Option]
) -> tuple[Source, Any, Any]:
    """Where a setting is set, how its value is parsed from there, and the value."""
    text = environment.get(setting.variable, "")
    option = options.get(setting.variable)
    # The command line takes what is not said from the variable by itself, so an option that says the same is none.
    if option is not None and option.text not in ("", text):
        return Source(Origin.OPTION, option.name), _from_text, option.text
    if text:
        return Source(Origin.ENVIRONMENT, setting.variable), _from_text, text
    if file is not None:
        found = file.tables.get(setting.section)
        value = found.get(setting.name) if isinstance(found, dict) else None
        if value is not None and value not in ("", []):
            return Source(Origin.FILE, file.place(setting.section, setting.name)), _from_toml, value
    return Source(Origin.DEFAULT), None, None


def as_violation(problem: str, file: Path | None) -> tuple[str, str]:
    """A problem of this file or of the environment as the name that it begins with, and the rest with its place."""
    place = ""
    if file is not None:
        if problem.startswith(f"{file} "):
            # Of the file as a whole.
            return "", problem
        if found := re.match(rf"({re.escape(str(file))}(?:, line \d+)?): ", problem):
            place, problem = f" ({found[1]})", problem[found.end() :]
    name, _, what = problem.partition(" ")
    return name, what + place


def _unknown_in(file: ConfigFile, settings: Sequence[Setting]) -> Iterator[str]:
    """What a file holds that is no setting."""
    by_name = {setting.name: setting.key for setting in settings}
    sections = {setting.section for setting in settings}
    for section, table in file.tables.items():
        if not isinstance(table, dict):
            where = by_name.get(section)
            remedy = f"it belongs under [{where.partition('.')[0]}]" if where else "settings stand under their sections"
            yield f"{file.place('', section)}: {section} stands in no section: {remedy}"
        elif section not in sections:
            close = get_close_matches(section, sections, n=1)
            remedy = f"[{close[0]}] is" if close else f"there are {', '.join(sorted(sections))}"
            yield f"{file.place(section)}: [{section}] is no section: {remedy}"
        else:
            for name in table:
                if by_name.get(name) != f"{section}.{name}":
                    yield f"{file.place(section, name)}: {section}.{name} is no setting: {_nearest(name, by_name)}"


def _nearest(name: str, by_name: Mapping[str, str]) -> str:
    close = get_close_matches(name.lower().removeprefix(PREFIX.lower()), by_name, n=1, cutoff=0.75)
    return f"{by_name[close[0]]} is" if close else "`podium config init` writes all that there are"


def _misspelt(environment: Mapping[str, str], known: set[str]) -> Iterator[str]:
    # Only what is close to one: an environment may hold names of others that begin alike.
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known | _CLIENT_NAMES:
            close = get_close_matches(name, known, n=1, cutoff=0.9)
            if close:
                yield f"{name} is no setting: {close[0]} is"


def _from_text(text: str, kind: object) -> object:
    """A setting's value from a text of the environment. Raises ValueError."""
    if kind in (int, float):
        try:
            return int(text.replace("_", "")) if kind is int else float(text)
        except ValueError:
            raise ValueError(f"is {text!r}, not a number") from None
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(f"is {text!r}, neither true nor false")
        return _TRUTH[text.lower()]
    if kind in _ELEMENTS:
        return tuple(_ELEMENTS[kind](part.strip()) for part in text.split(","))
    return Path(text) if kind in (Path, Path | None) else text


def _from_toml(value: object, kind: object) -> object:
    """A setting's value from one of a file. Raises ValueError."""
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"is {value!r}, neither true nor false without quotes")
        return value
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and isinstance(value, float)):
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"is {value!r}, not {what} without quotes")
        return float(value) if kind is float else value
    if kind in _ELEMENTS:
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ValueError(f'is {value!r}, not a list of texts such as ["a", "b"]')
        return tuple(_ELEMENTS[kind](part) for part in value)
    if isinstance(value, str):
        return Path(value) if kind in (Path, Path | None) else value
    raise ValueError(f"is {value!r}, not text in quotes")


def _network(text: str) -> Network:
    try:
        return parse_network(text)
    except ValueError:
        raise ValueError(f"has {text!r}, which is no address and no network such as 10.0.0.0/8") from None


_ELEMENTS: dict[object, Any] = {
    tuple[Network, ...]: _network,
    tuple[str, ...]: str,
    tuple[PublicKeyFile, ...]: PublicKeyFile.parse,
}
"""How the elements of lists are parsed, by the lists' types."""
