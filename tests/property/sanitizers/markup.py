"""What is active in markup, by a parser that has nothing to do with the one that cleans."""

from selectolax.lexbor import LexborHTMLParser

PASSIVE = frozenset(
    "html head body a abbr acronym area article aside b bdi bdo blockquote br caption center cite code col "
    "colgroup data dd del details dfn div dl dt em figcaption figure footer h1 h2 h3 h4 h5 h6 header hgroup hr i "
    "img ins kbd li map mark nav ol p pre q rp rt rtc ruby s samp small span strike strong sub summary sup table "
    "tbody td th thead time tr tt u ul var wbr tfoot".split()
)
ATTRIBUTES = frozenset(
    "align alt char charoff cite colspan datetime dir headers height href hreflang lang rel rowspan scope size "
    "span src start summary title width".split()
)
ADDRESSES = frozenset({"href", "src", "cite"})
SCHEMES = ("http:", "https:", "mailto:", "tel:")


def active_content(markup):
    """Elements, attributes and addresses beyond the passive ones; parsed twice, as a page in a page would be."""
    found = []
    for _ in range(2):
        tree = LexborHTMLParser(markup)
        for node in tree.root.traverse(include_text=False):
            if node.tag not in PASSIVE and not node.tag.startswith("-"):
                found.append(node.tag)
            for name, value in node.attributes.items():
                if name not in ATTRIBUTES or (name in ADDRESSES and not is_passive_address(value or "")):
                    found.append(f"{node.tag} {name}")
        markup = tree.html or ""
    return found


def is_passive_address(value):
    bare = "".join(each for each in value if each > " ").lower()
    return bare.startswith(SCHEMES) or ":" not in bare.partition("/")[0]
