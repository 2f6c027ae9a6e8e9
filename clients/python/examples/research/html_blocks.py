"""HTML taken apart into blocks, by lexbor, which reads broken markup as browsers do.

Invariant: the work grows with the length of the document alone. Nothing here recurses, and nesting is limited before
the parser sees it: for every tag, the HTML standard's algorithm searches the stack of open elements.
"""

import re
from collections import Counter
from collections.abc import Iterator

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from research.blocks import Block, BlockKind, collapse
from research.errors import UnreadableDocument

_MAX_NESTING = 1000
"""Generated pages reach a few dozen. 200,000 nested <div> (1.2 MB) took lexbor 100 s."""

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)")
# They have no content, or an end that authors leave out: many of them open at once is not nesting.
_NOT_NESTED_TAGS = (
    "area base body br col colgroup dd dt embed head hr html img input li link meta option p rp rt source tbody td "
    "tfoot th thead tr track wbr"
)

_NOT_NESTED = frozenset(_NOT_NESTED_TAGS.split())

_PASSED_OVER_TAGS = (
    "audio button canvas footer iframe math nav noscript object script select style svg template textarea video"
)
_PASSED_OVER = frozenset(_PASSED_OVER_TAGS.split())
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BREAK_TAGS = (
    "h1 h2 h3 h4 h5 h6 address article aside blockquote body caption center dd details dialog div dl dt fieldset "
    "figcaption figure head header hr html legend li main menu ol p pre section summary table tbody td tfoot th thead "
    "tr ul"
)
_BREAKS = frozenset(_BREAK_TAGS.split())


def html_blocks(source: str) -> Iterator[Block]:
    """Yield title, headings, prose and code of a page; scripts, navigation, footers and controls are left out.

    Raises:
        UnreadableDocument: Elements are nested more than 1000 deep.
    """
    _refuse_deep_nesting(source)
    # Without events, <selectedcontent> is not filled with copies of what it selects.
    tree = LexborHTMLParser(source, options=LexborDocumentOptions.WO_EVENTS)
    title = tree.css_first("head title")
    if title is not None and (text := collapse(title.text())):
        yield Block(BlockKind.TITLE, text)
    if tree.body is not None:
        yield from _blocks(tree.body)


def _blocks(body: LexborNode) -> Iterator[Block]:
    words: list[str] = []
    kind = BlockKind.PROSE
    for opens, node in _walk(body):
        tag = node.tag
        if node.is_text_node:
            if opens:
                words.append(node.text_content or "")
        elif tag == "br":
            words.append("\n")
        elif tag in _BREAKS:
            yield from _block(kind, words)
            words.clear()
            kind = _kind(tag, kind) if opens else BlockKind.PROSE
    yield from _block(kind, words)


def _kind(tag: str, outer: BlockKind) -> BlockKind:
    if tag == "pre":
        return BlockKind.CODE
    return BlockKind.HEADING if tag in _HEADINGS else outer


def _block(kind: BlockKind, words: list[str]) -> Iterator[Block]:
    text = "".join(words)
    text = text.strip("\n") if kind is BlockKind.CODE else collapse(text)
    if text.strip():
        yield Block(kind, text)


def _walk(root: LexborNode) -> Iterator[tuple[bool, LexborNode]]:
    """Yield every node twice, as it opens (True) and as it closes (False); nothing inside of what is passed over."""
    node, depth = root, 0
    while True:
        yield True, node
        if node.first_child is not None and not _is_passed_over(node):
            node, depth = node.first_child, depth + 1
            continue
        yield False, node
        while node.next is None or depth == 0:
            if node.parent is None or depth == 0:
                return
            node, depth = node.parent, depth - 1
            yield False, node
        node = node.next


def _is_passed_over(node: LexborNode) -> bool:
    if node.tag in _PASSED_OVER:
        return True
    attributes = node.attributes
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in {"navigation", "search"}
        or attributes.get("class") == "headerlink"  # the sign that Sphinx puts after headings
    )


def _refuse_deep_nesting(source: str) -> None:
    open_elements: Counter[str] = Counter()
    depth = 0
    for match in _TAG.finditer(source):
        tag = match[2].lower()
        if tag in _NOT_NESTED:
            continue
        if not match[1]:
            open_elements[tag] += 1
            depth += 1
        elif open_elements[tag]:
            # An end tag without its start closes nothing, and must not make room for more.
            open_elements[tag] -= 1
            depth -= 1
        if depth > _MAX_NESTING:
            raise UnreadableDocument(f"The page nests elements more than {_MAX_NESTING} deep.")
