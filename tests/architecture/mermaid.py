"""The edges of a mermaid flowchart, as far as an architecture's diagram needs: nodes, labels, chains, `&` and `-->`."""

import re
from collections.abc import Iterator
from itertools import pairwise, product

Edge = tuple[str, str]

FENCE = re.compile(r"^```mermaid\n(.*?)^```", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r"\s*-->(?:\|[^|]*\|)?\s*")
NODE = re.compile(r"([\w.-]+)(?:[\[({>]+(.*?)[\])}]+)?(?::::\w+|:::\w+)?")
NO_EDGES = ("%%", "flowchart", "graph", "subgraph", "end", "direction", "classDef", "class ", "style ", "linkStyle")


class UnreadableDiagramError(ValueError):
    """A line of the diagram that this reader does not understand, so that it cannot be compared with the code."""


def flowcharts(markdown: str) -> list[str]:
    """The flowcharts of a document, without their fences; its other kinds of diagram are left out."""
    return [diagram for diagram in FENCE.findall(markdown) if diagram.lstrip().startswith(("flowchart", "graph"))]


def statements(diagram: str) -> Iterator[str]:
    """The lines of a diagram that state nodes or edges."""
    for line in re.split(r"[\n;]", diagram):
        stripped = line.strip()
        if stripped and not stripped.startswith(NO_EDGES):
            yield stripped


def edges(diagram: str) -> set[Edge]:
    """Every edge of a flowchart, by the nodes' labels where they have one and by their ids elsewhere."""
    labels: dict[str, str] = {}
    by_id: set[Edge] = set()
    for statement in statements(diagram):
        groups = [
            [node_id(part, labels, statement) for part in re.split(r"\s+&\s+", group)]
            for group in ARROW.split(statement)
        ]
        by_id |= {edge for left, right in pairwise(groups) for edge in product(left, right)}
    return {(labels.get(left, left), labels.get(right, right)) for left, right in by_id}


def node_id(part: str, labels: dict[str, str], statement: str) -> str:
    """The id of one node of a statement; its label, if it has one here, goes into `labels`."""
    found = NODE.fullmatch(part.strip())
    if found is None:
        raise UnreadableDiagramError(statement)
    if found[2]:
        # A label's first word is the package; what follows, after a line break or a space, tells the reader about it.
        labels[found[1]] = re.split(r"[\s<]", found[2].strip('"'))[0]
    return found[1]
