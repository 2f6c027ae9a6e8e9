"""The text of a file in YAML or JSON: its values, or where it is neither.

Invariant: of two members with one name neither is passed over in silence, and no text costs more than its length.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.failures import CommandFailed, ExitCode

if TYPE_CHECKING:
    import yaml

TEXT_LENGTH_MAX = 64 * 2**20
ALIASES_MAX = 100
"""Each alias of YAML repeats what it names; a few repeat a lot when they are nested."""


def parsed(text: str, name: str) -> object:
    """Return what a file says: JSON where its name ends with .json, YAML otherwise. Raises CommandFailed."""
    if len(text) > TEXT_LENGTH_MAX:
        problem = f"is longer than {TEXT_LENGTH_MAX // 2**20} million characters"
        raise CommandFailed(problem, ExitCode.BAD_INPUT, "INVALID_FILE", context=name)
    if Path(name).suffix.lower() == ".json":
        try:
            return json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise CommandFailed(
                f"is not valid JSON: {error}", ExitCode.BAD_INPUT, "INVALID_FILE", context=name
            ) from None
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 -- a safe loader, which refuses duplicate names too
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise CommandFailed(f"is not valid YAML: {problem}", ExitCode.BAD_INPUT, "INVALID_FILE", context=name) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} is there twice")
    return content


def _loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML's safe values that JSON has too; of two members with one name, neither is passed over in silence."""

        # A date has no JSON form; written without quotes, it is the text that it looks like.
        yaml_implicit_resolvers = {  # noqa: RUF012 -- as PyYAML declares it
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        aliases = 0

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                self.aliases += 1
                if self.aliases > ALIASES_MAX:
                    raise yaml.YAMLError(f"there are more than {ALIASES_MAX} aliases")
            node: yaml.Node | None = super().compose_node(parent, index)
            return node

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:bool" and key.value.lower() not in ("true", "false"):
                    # A member named `on` is no truth value, as YAML 1.2 has it.
                    key.tag = "tag:yaml.org,2002:str"
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            for (key, _), name in zip(node.value, names, strict=True):
                if names.count(name) > 1:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the name {name!r} is there twice", key.start_mark
                    )
            return super().construct_mapping(node, deep=deep)

    return Loader
