"""docs/architecture.md draws the packages and who imports whom; the drawing and the code must say the same."""

import re
from pathlib import Path

import pytest

from tests.architecture import mermaid
from tests.architecture.checkout import ROOT
from tests.architecture.import_graph import package_edges

DOCUMENT = "docs/architecture.md"


def drawn_edges(markdown):
    """The edges of the one flowchart that names modules of the service."""
    named = [flowchart for flowchart in mermaid.flowcharts(markdown) if re.search(r"\bservice\.\w", flowchart)]
    assert len(named) == 1, f"{DOCUMENT} needs one mermaid flowchart of the packages, and has {len(named)}"
    return mermaid.edges(named[0])


def drawing_against_code(root: Path):
    """What to add to the diagram and what to remove from it, as its own lines; empty if it is true."""
    drawn, real = drawn_edges((root / DOCUMENT).read_text()), package_edges(root)
    missing = [f"add     {left} --> {right}" for left, right in sorted(real - drawn)]
    surplus = [f"remove  {left} --> {right}" for left, right in sorted(drawn - real)]
    return missing + surplus


def test_the_diagram_shows_the_real_imports():
    assert (ROOT / DOCUMENT).exists(), f"{DOCUMENT} is missing"
    changes = drawing_against_code(ROOT)
    assert not changes, f"{DOCUMENT} is not what the code imports:\n" + "\n".join(changes)


@pytest.fixture
def synthetic(tmp_path):
    """A small checkout: engine imports domain and store, domain and store the generated events."""
    modules = {
        "service/__init__.py": "",
        "service/main.py": "from service.engine import mailbox\n",
        "service/engine/__init__.py": "",
        "service/engine/mailbox.py": "import store.writer\n\ndef f():\n    from service.domain.run import decide\n",
        "service/domain/run.py": "from podium.v1 import events_pb2\nimport json\n",
        "store/writer.py": "from podium.v1.events_pb2 import Event\nfrom store import tables\n",
        "store/tables.py": "",
        "clients/python/podium/__init__.py": "from podium.client import Client\n",
        "clients/python/podium/client.py": "from podium.v1 import events_pb2\n",
        "clients/python/podium/v1/events_pb2.py": "from podium.v1 import value_pb2\n",
    }
    for name, text in modules.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "docs").mkdir()
    return tmp_path


TRUE_EDGES = """
    service.main --> service.engine
    service.engine --> service.domain & store
    service.domain & store & podium --> podium.v1
"""


OTHER_DIAGRAMS = """
```mermaid
stateDiagram-v2
    [*] --> Running
```

```mermaid
flowchart LR
    agent ==> api
```
"""


def draw(root, edges):
    (root / DOCUMENT).write_text(f"# Architecture\n\n```mermaid\nflowchart TD\n{edges}```\n{OTHER_DIAGRAMS}")


def test_a_true_drawing_passes(synthetic):
    draw(synthetic, TRUE_EDGES)
    assert drawing_against_code(synthetic) == []


def test_an_import_that_is_not_drawn_is_named(synthetic):
    draw(synthetic, TRUE_EDGES.replace("service.domain & store\n", "store\n"))
    assert drawing_against_code(synthetic) == ["add     service.engine --> service.domain"]


def test_a_drawn_import_that_is_not_real_is_named(synthetic):
    draw(synthetic, TRUE_EDGES + "    service.domain --> store\n")
    assert drawing_against_code(synthetic) == ["remove  service.domain --> store"]


def test_an_import_inside_a_function_counts(synthetic):
    draw(synthetic, TRUE_EDGES)
    (synthetic / "store/tables.py").write_text("def f():\n    import service.domain.run\n")
    assert drawing_against_code(synthetic) == ["add     store --> service.domain"]


def test_a_document_without_the_diagram_is_refused(synthetic):
    (synthetic / DOCUMENT).write_text("# Architecture\n")
    with pytest.raises(AssertionError, match="needs one mermaid flowchart of the packages, and has 0"):
        drawing_against_code(synthetic)


def test_labels_chains_groups_and_comments_are_read():
    diagram = """flowchart TD
        %% who imports whom
        subgraph inside
            main["service.main<br/>builds and serves"] --> engine([service.engine]) -->|appends| store
        end
        main & engine --> service.config
        classDef pure fill:#eee
        lonely
    """
    assert mermaid.edges(diagram) == {
        ("service.main", "service.engine"),
        ("service.engine", "store"),
        ("service.main", "service.config"),
        ("service.engine", "service.config"),
    }


def test_a_line_that_cannot_be_read_is_refused():
    with pytest.raises(mermaid.UnreadableDiagramError, match=r"store ==> podium"):
        mermaid.edges("flowchart TD\n    store ==> podium\n")
