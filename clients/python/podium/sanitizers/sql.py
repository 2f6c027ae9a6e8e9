"""A single statement of SQL that only does what is allowed: of a kind, by functions and on tables that are listed.

A statement is code and values are not part of it: they come beside it and are bound. This is the second line. The first
is the database's own: a role that may do no more than it must, and a transaction that is read only. A parser sees less
than the database does, so whatever it does not know, or two readers could take differently, is refused.
"""

from __future__ import annotations

import logging
import re
import string
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from podium.sanitizers.declaration import Options
from podium.sanitizers.rejection import Rejected, text_of
from podium.sanitizers.sql_functions import DEFAULT_FUNCTIONS
from podium.sanitizers.sql_types import has_substring, is_lookup, may_be_expression

KIND = "sql"
_LENGTH_MAX = 65_536
_TOKENS_MAX = 1000
"""The parser takes thirty microseconds for each."""
_WORD = re.compile(r"\w++|[^\w\s]")
_WORDS_MAX = 2 * _TOKENS_MAX
"""Those in texts too: counted before anything else, for finding out what they are takes time as well."""
_DEPTH_MAX = 32
_ACCEPTED_MAX = 1024
"""How many statements a sanitizer remembers: agents repeat them, and to parse one takes half a millisecond."""

_KINDS: dict[str, type[exp.Expr]] = {
    "select": exp.Query,
    "insert": exp.Insert,
    "update": exp.Update,
    "delete": exp.Delete,
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]")
_COMMENT = re.compile(r"--|/\*|\*/|#(?![>\-#])")
# Their rules of escaping depend on the database's settings.
_ODD_STRINGS = frozenset(
    {
        TokenType.BIT_STRING,
        TokenType.BYTE_STRING,
        TokenType.HEREDOC_STRING,
        TokenType.HEX_STRING,
        TokenType.NATIONAL_STRING,
        TokenType.RAW_STRING,
        TokenType.UNICODE_STRING,
    }
)
_UNICODE_NAME = re.compile(r"[uU]&[\"']")
# To SQLite a name in quotes that no column has is a text. One that begins with a digit may be true, and one that holds
# quotes or comparisons was none.
_NAME = re.compile(r"[^\W\d][^'\"`;=<>\\]*+")
_SYSTEM_SCHEMAS = frozenset({"information_schema", "pg_catalog", "pg_toast", "sys"})
_SYSTEM_TABLE = re.compile(r"(?:pg|sqlite|pragma)_.*|dbstat|fts\d.*")
_VARYING = (exp.Column, exp.Placeholder, exp.Parameter, exp.Star)
_PATTERN_MATCHES = (exp.RegexpLike, exp.RegexpILike, exp.SimilarTo)
_FOLD = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Databases fold the letters of ASCII alone: to them a name with the sign for Kelvin is not one with a k."""
_WHO = frozenset("current_catalog current_role current_schema current_user session_user system_user user".split())
# Words after which a parenthesis opens a list, a query or a window, and no arguments.
_NO_CALLS = frozenset(
    "all and any array as between by case cast cube default distinct else end except exists filter from group "
    "having in intersect into is join lateral limit materialized not offset on or over partition recursive "
    "returning rollup row select set sets some then union using values when where with within".split()
)

# It quotes the statement where it does not understand it, and statements belong in no log.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


class SqlSanitizer:
    """Refuses a statement that is not of an allowed kind and form; one that passes is returned as it is.

    Options: `dialect`, `sqlite` or `postgres`; `kinds` (default `select`; also `insert`, `update`, `delete`);
    `functions`, instead of the default list; `tables`, as the database has their names, without which all but the
    system's may be used; `types` of Postgres, beside the plain ones, that values may be made; `literals`, whether
    values may stand in conditions and changes; `max_length`.
    """

    kind = KIND

    def __init__(self, options: Mapping[str, object]) -> None:
        read = Options(KIND, options)
        self.dialect = read.choice("dialect", None, ("postgres", "sqlite"))
        self.kinds = frozenset(read.chosen("kinds", ("select",), _KINDS))
        self._functions = frozenset(each.lower() for each in read.texts("functions", DEFAULT_FUNCTIONS))
        self._regular_expressions = not self._functions.isdisjoint(("regexp", "regexp_like"))
        tables = read.texts("tables") if "tables" in options else None
        self._tables = None if tables is None else frozenset(map(self._declared, tables))
        self._types = frozenset(each.lower() for each in read.texts("types")) if "types" in options else frozenset()
        self._literals = read.flag("literals", default=False)
        self._length_max = read.number("max_length", 8192, _LENGTH_MAX)
        read.close()
        self._accept = lru_cache(maxsize=_ACCEPTED_MAX)(self._judge)

    def check(self, value: object) -> str:
        """Return the statement, or raise Rejected."""
        text = text_of(KIND, value, self._length_max)
        self._accept(text)
        return text

    def _judge(self, text: str) -> None:
        if _CONTROL.search(text):
            raise Rejected(KIND, "CONTROL_CHARACTER", "holds a control character")
        if _COMMENT.search(text):
            raise Rejected(KIND, "SQL_COMMENT", "holds a comment, or what may be taken for one")
        if _UNICODE_NAME.search(text):
            raise Rejected(KIND, "SQL_MALFORMED", "holds a name or text in Unicode escapes")
        if len(text) > _WORDS_MAX and len(_WORD.findall(text)) > _WORDS_MAX:
            raise Rejected(KIND, "TOO_LONG", f"has more than {_TOKENS_MAX} words")
        try:
            tokens = sqlglot.tokenize(text, read=self.dialect)
            _refuse_size(tokens)
            statements = sqlglot.parse(text, read=self.dialect)
            if any(token.token_type in _ODD_STRINGS for token in tokens):
                raise Rejected(KIND, "SQL_LITERAL", "holds a text in other than plain quotes")
            if len(statements) != 1 or statements[0] is None:
                raise Rejected(KIND, "SQL_STATEMENTS", "must be one statement")
            self._refuse_calls(tokens)
            self._refuse_nodes(statements[0])
            if self.dialect == "postgres":
                self._refuse_lookups(statements[0], tokens)
        except (SqlglotError, RecursionError):
            raise Rejected(KIND, "SQL_MALFORMED", "is not understood as a statement") from None

    def _refuse_calls(self, tokens: list[Token]) -> None:
        """Refuse calls by the names that stand in the text, before the parser has mapped them to others."""
        for index, token in enumerate(tokens):
            plain = token.token_type is not TokenType.IDENTIFIER
            name = self._named(token.text, quoted=not plain)
            before = tokens[index - 1] if index else None
            if plain and name in _WHO and self.dialect == "postgres" and name not in self._functions:
                raise Rejected(KIND, "SQL_FUNCTION", "asks for the session's user or schema")
            if index + 1 == len(tokens) or tokens[index + 1].token_type is not TokenType.L_PAREN:
                continue
            if not re.fullmatch(r"\w+", name, re.ASCII) or (plain and name in _NO_CALLS):
                continue
            if before is not None and before.token_type is TokenType.DOT:
                name = f"{tokens[index - 2].text.lower()}.{name}"
            elif before is not None and _names_something(before):
                continue
            if name not in self._functions:
                raise Rejected(KIND, "SQL_FUNCTION", "calls a function that is not allowed")

    def _refuse_nodes(self, statement: exp.Expr) -> None:
        if not isinstance(statement, tuple(_KINDS[kind] for kind in self.kinds)):
            raise Rejected(KIND, "SQL_KIND", f"must be {' or '.join(sorted(self.kinds)).upper()}")
        writes = tuple(of for kind, of in _KINDS.items() if kind != "select" and kind in self.kinds)
        for node in statement.walk():
            if isinstance(node, exp.Into | exp.Lock | exp.Command | exp.DML | exp.DDL) and not isinstance(
                node, (exp.Query, *writes)
            ):
                raise Rejected(KIND, "SQL_KIND", "does more than it is allowed to")
            if isinstance(node, exp.Operator) or (isinstance(node, _PATTERN_MATCHES) and not self._regular_expressions):
                raise Rejected(KIND, "SQL_FUNCTION", "matches a regular expression, or names an operator")
            if isinstance(node, exp.Anonymous) and _called(node) not in self._functions:
                raise Rejected(KIND, "SQL_FUNCTION", "calls a function that is not allowed")
            if isinstance(node, exp.Identifier) and not _NAME.fullmatch(node.name):
                raise Rejected(KIND, "SQL_LITERAL", "has a name in quotes that is rather a value")
            if _is_constant_condition(node, quotes_may_be_texts=self.dialect == "sqlite"):
                raise Rejected(KIND, "SQL_CONSTANT_CONDITION", "has a condition that is the same for every row")
            if not self._literals and isinstance(node, exp.Literal | exp.Boolean) and _is_a_value(node):
                raise Rejected(KIND, "SQL_LITERAL", "has a value in a condition or a change: bind values as parameters")
        self._refuse_tables(statement)

    def _refuse_lookups(self, statement: exp.Expr, tokens: list[Token]) -> None:
        substring = has_substring(tokens)
        for node in statement.walk():
            if is_lookup(node, self._types):
                raise Rejected(KIND, "SQL_TYPE", "makes a value a type that is not allowed")
            if self._regular_expressions or (isinstance(node, exp.Substring) and not substring):
                continue
            if may_be_expression(node):
                problem = "may match a regular expression: for places use substr, or CAST(... AS integer)"
                raise Rejected(KIND, "SQL_FUNCTION", problem)

    def _refuse_tables(self, statement: exp.Expr) -> None:
        names = _NamesOfQueries(statement, self._name_of)
        for node, parts in _tables_of(statement):
            qualified = ".".join(self._name_of(part) for part in parts)
            if len(parts) == 1 and names.visible_at(node, qualified):
                continue
            if self._tables is not None:
                if qualified not in self._tables:
                    raise Rejected(KIND, "SQL_TABLE", "uses a table that is not allowed")
            elif _SYSTEM_TABLE.fullmatch(parts[-1].name.lower()) or any(
                part.name.lower() in _SYSTEM_SCHEMAS for part in parts[:-1]
            ):
                raise Rejected(KIND, "SQL_TABLE", "uses a table of the database system")

    def _declared(self, table: str) -> str:
        return table if self.dialect == "postgres" else table.translate(_FOLD)

    def _name_of(self, part: exp.Expr) -> str:
        return self._named(part.name, quoted=bool(part.args.get("quoted")))

    def _named(self, name: str, *, quoted: bool) -> str:
        """What a name stands for: quotes keep its letters as they are in Postgres, and nothing does in SQLite."""
        return name if quoted and self.dialect == "postgres" else name.translate(_FOLD)


def _tables_of(statement: exp.Expr) -> Iterator[tuple[exp.Expr, list[exp.Expr]]]:
    """What a statement reads and writes, each with the parts of its name. Functions have been judged."""
    for table in statement.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier):
            yield table, table.parts
    for membership in statement.find_all(exp.In):
        # SQLite takes a table in place of a list: `x IN items` reads it, and so does `x IN 'items'`.
        field = membership.args.get("field")
        if isinstance(field, exp.Column) and all(isinstance(part, exp.Identifier) for part in field.parts):
            yield field, list(field.parts)
        elif field is not None and not isinstance(field, exp.Func | exp.Dot | exp.Placeholder | exp.Parameter):
            raise Rejected(KIND, "SQL_TABLE", "asks whether something is in what is neither a list nor a table")


class _NamesOfQueries:
    """The names that a statement's WITH gives to queries, and from where on each hides a table of that name."""

    def __init__(self, statement: exp.Expr, name_of: Callable[[exp.Expr], str]) -> None:
        self._queries: list[tuple[str, exp.CTE]] = []
        for clause in statement.find_all(exp.With):
            # Only the outermost counts: it is in force everywhere behind its own queries.
            if clause.parent is statement:
                self._queries = [(name_of(each.args["alias"].this), each) for each in clause.expressions]
        self._recursive = any(clause.recursive for clause in statement.find_all(exp.With))

    def visible_at(self, table: exp.Expr, name: str) -> bool:
        """Whether the name stands for a query there, and not for a table."""
        within = _enclosing_query(table, self._queries)
        visible = self._queries[:within]
        if within < len(self._queries) and self._recursive:
            visible = self._queries[: within + 1]
        return any(each == name for each, _ in visible)


def _enclosing_query(table: exp.Expr, queries: list[tuple[str, exp.CTE]]) -> int:
    """The index of the named query that a table stands in; their number if it stands behind them."""
    node: exp.Expr | None = table
    while node is not None:
        for index, (_, query) in enumerate(queries):
            if node is query:
                return index
        node = node.parent
    return len(queries)


def _called(function: exp.Anonymous) -> str:
    schema = function.parent
    name = function.name.translate(_FOLD)
    return f"{schema.this.name.lower()}.{name}" if isinstance(schema, exp.Dot) else name


def _names_something(before: Token) -> bool:
    """Whether what follows is a type or a new name with its columns, as in `AS numeric(10, 2)` and `WITH t(a, b)`."""
    return before.text.lower() in ("as", "with", "recursive", "into") or before.token_type is TokenType.DCOLON


def _refuse_size(tokens: list[Token]) -> None:
    """Refuse what the parser would take too long for: it recurses."""
    if len(tokens) > _TOKENS_MAX:
        raise Rejected(KIND, "TOO_LONG", f"has more than {_TOKENS_MAX} words")
    depth = 0
    for token in tokens:
        if token.token_type is TokenType.L_PAREN:
            depth += 1
            if depth > _DEPTH_MAX:
                raise Rejected(KIND, "SQL_NESTING", f"is nested more than {_DEPTH_MAX} levels deep")
        elif token.token_type is TokenType.R_PAREN:
            depth -= 1


def _is_constant_condition(node: exp.Expr, *, quotes_may_be_texts: bool) -> bool:
    """Whether it decides the same for every row, as `1 = 1` and `a = a + b - b` do: the mark of text that was put in.

    It sees the plain cases. Who writes the whole statement finds others, as `a IS NOT NULL` of what never is.
    """
    if isinstance(node, exp.And | exp.Or | exp.Where | exp.Having | exp.Not):
        return any(not _varies(each, quotes_may_be_texts=quotes_may_be_texts) for each in _operands(node))
    if not isinstance(node, exp.Predicate) or isinstance(node, exp.SubqueryPredicate):
        return False
    subject, compared = _compared(node)
    if any(each == subject for each in compared):
        # One question mark is another value than the next.
        return not isinstance(subject, exp.Placeholder) or bool(subject.name)
    if _cancels_out(node):
        return True
    varying = list(node.find_all(*_VARYING))
    quoted = [each for each in varying if quotes_may_be_texts and _may_be_a_text(each)]
    if not quoted:
        return not varying
    if len(quoted) < len(varying):
        # Beside what is bound it is a column; beside a column it may be the text that this is compared with.
        beside_columns = any(isinstance(each, exp.Column) and each not in quoted for each in varying)
        return beside_columns and node.find(exp.Query) is None
    return len(quoted) != 1 or not quoted[0].name.isidentifier()


def _varies(operand: exp.Expr, *, quotes_may_be_texts: bool) -> bool:
    """Whether an operand can differ from row to row; of a query counts what it selects, or its conditions."""
    if isinstance(operand, exp.Exists):
        return operand.this.find(exp.Where, exp.Having, exp.Join) is not None
    if isinstance(operand, exp.Predicate | exp.Connector | exp.Not):
        # It is looked at by itself.
        return operand.find(*_VARYING) is not None
    parts = operand.selects if isinstance(operand, exp.Query) else [operand]
    varying = [each for part in parts for each in part.find_all(*_VARYING)]
    return any(not (quotes_may_be_texts and _may_be_a_text(each)) for each in varying)


def _cancels_out(comparison: exp.Expr) -> bool:
    """Whether a sum is compared in which a column is twice: it is left out of one that is written to be read."""
    if not isinstance(comparison, exp.Binary | exp.Between):
        return False
    columns = [each for each in comparison.walk() if isinstance(each, exp.Column)]
    inside = (exp.Column, exp.Identifier, exp.Add, exp.Sub, exp.Paren, exp.Neg, exp.Literal)
    if len(set(columns)) == len(columns):
        return False
    return all(each is comparison or isinstance(each, inside) for each in comparison.walk())


def _compared(node: exp.Expr) -> tuple[exp.Expr | None, list[exp.Expr]]:
    """What a predicate is about, and what it compares that with."""
    if isinstance(node, exp.Between):
        others = [node.args["low"], node.args["high"]]
    elif isinstance(node, exp.In):
        others = node.expressions
    elif isinstance(node, exp.Binary):
        others = [node.right]
    else:
        others = []
    subject = node.args.get("this")
    return (subject.unnest() if isinstance(subject, exp.Expr) else None), [each.unnest() for each in others]


def _may_be_a_text(name: exp.Expr) -> bool:
    """To SQLite a name in quotes that no column has is a text; behind the name of its table it is a column."""
    return isinstance(name, exp.Column) and not name.table and bool(name.this.args.get("quoted"))


def _is_a_value(literal: exp.Literal | exp.Boolean) -> bool:
    """Whether it is compared or stored; `EXISTS (SELECT 1 ...)` does neither, and some only look so.

    Those are `$1`, `numeric(9, 2)` and `IS TRUE`.
    """
    if isinstance(literal.parent, exp.Parameter | exp.DataTypeParam) or (
        isinstance(literal, exp.Boolean) and isinstance(literal.parent, exp.Is)
    ):
        return False
    if literal.find_ancestor(exp.Insert, exp.Update) is not None:
        return True
    place = literal.find_ancestor(exp.Where, exp.Having, exp.Join, exp.Delete, exp.Query)
    return place is not None and not isinstance(place, exp.Query)


def _operands(node: exp.Expr) -> Iterator[exp.Expr]:
    for each in (node.args.get("this"), node.args.get("expression")):
        if isinstance(each, exp.Expr):
            yield each.unnest()
