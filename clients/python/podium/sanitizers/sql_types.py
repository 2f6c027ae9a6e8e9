"""What a value of a statement may be made into, and how, where Postgres reads more than the value for it.

To make a number or a text an object identifier (`regclass`, `regrole` and their kin) looks it up in the catalogue, past
every list of tables; to make it the row of a table tells that table's columns. So a type is one of those listed here,
or one that the sanitizer's options name. SQLite has no such types, and takes any word for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

_PLAIN = frozenset(
    exp.DType[name]
    for name in """
ARRAY BIGINT BIGSERIAL BIT BOOLEAN BPCHAR CHAR DATE DATEMULTIRANGE DATERANGE DECIMAL DOUBLE FLOAT HSTORE INET INT
INT4MULTIRANGE INT4RANGE INT8MULTIRANGE INT8RANGE INTERVAL JSON JSONB MONEY NAME NUMMULTIRANGE NUMRANGE POINT SERIAL
SMALLINT SMALLSERIAL TEXT TIME TIMESTAMP TIMESTAMPNTZ TIMESTAMPTZ TIMETZ TSMULTIRANGE TSRANGE TSTZMULTIRANGE TSTZRANGE
UUID VARBINARY VARCHAR XML
""".split()
)
_NUMBERS = frozenset({exp.DType.BIGINT, exp.DType.INT, exp.DType.SMALLINT, exp.DType.DECIMAL})
# Plain to Postgres, and names like any other to the parser.
_PLAIN_BY_NAME = frozenset("box cidr circle citext line lseg macaddr macaddr8 path polygon tsquery tsvector".split())
_RETURNED = frozenset({"bytea", "json", "jsonb", "text"})
"""By what makes JSON."""
_NO_DATA_TYPES = (exp.ObjectIdentifier, exp.PseudoType)
_TYPES = (exp.DataType, exp.Interval, *_NO_DATA_TYPES)
_COUNTED = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Length, exp.StrPosition, exp.Ceil, exp.Floor, exp.Round)
# In a path of JSON, with or without an escape in the word.
_PATH_WITH_EXPRESSION = re.compile(r"regex|\\", re.IGNORECASE)


def is_lookup(node: exp.Expr, named: AbstractSet[str]) -> bool:
    """Whether a node of a statement makes a value something that is looked up: a type that is neither plain nor named.

    Args:
        node: Any node of a statement of Postgres.
        named: Further types that are allowed, in small letters.
    """
    if isinstance(node, _NO_DATA_TYPES):
        return node.name.lower() not in named
    if isinstance(node, exp.Cast) and not isinstance(node.args["to"], _TYPES):
        return True
    if isinstance(node, exp.DataType):
        if node.this is exp.DType.USERDEFINED:
            return str(node.args.get("kind") or "").replace('"', "").lower() not in _PLAIN_BY_NAME | named
        return node.this not in _PLAIN and str(node.this.value).lower() not in named
    # JSON_OBJECT(... RETURNING type), in which the parser takes the type for a column.
    returned = node.args.get("return_type")
    return isinstance(returned, exp.Expr) and returned.name.lower() not in _RETURNED | named


def may_be_expression(node: exp.Expr) -> bool:
    """Whether a node matches a regular expression in other than the operators' words.

    What `substring(text FROM ...)` is given is one unless it is a number, and a path of JSON may hold one.
    """
    if isinstance(node, exp.Substring):
        places = (node.args.get("start"), node.args.get("length"))
        return not all(place is None or _is_number(place) for place in places)
    if isinstance(node, exp.JSONBPathExists | exp.MatchAgainst):
        # Texts that stand side by side are one.
        texts = [each.name for each in node.find_all(exp.Literal) if each.is_string]
        return any(map(_PATH_WITH_EXPRESSION.search, (*texts, "".join(texts), "".join(reversed(texts)))))
    return False


def has_substring(tokens: Iterable[Token]) -> bool:
    """Whether it is called by this name. `substr`, which the parser takes for the same, knows numbers alone."""
    return any(token.text.lower() == "substring" and token.token_type is not TokenType.STRING for token in tokens)


def _is_number(place: exp.Expr) -> bool:
    """Whether it cannot be a text."""
    place = place.unnest()
    if isinstance(place, exp.Neg):
        return _is_number(place.this)
    if isinstance(place, exp.Cast):
        return place.args["to"].this in _NUMBERS
    return isinstance(place, _COUNTED) or (isinstance(place, exp.Literal) and not place.is_string)
