"""Real paths, addresses, texts, markup, statements and commands of the installed packages: at most 0.5 % are refused.

An address that names no public host (`http://localhost`, the documentation's own networks, credentials) is meant to be
refused, so an address counts as benign when an independent reading finds a public name and no port.
"""

import ast
import itertools
import os
import re
import shlex
import sys
import sysconfig
from html import unescape
from keyword import iskeyword
from pathlib import Path

import pytest
import sqlalchemy as sa
from markdown_it import MarkdownIt
from sqlalchemy.dialects import postgresql, sqlite

from podium.sanitizers import Rejected, compile_sanitizer
from podium.sanitizers.command import is_launcher
from tests.property.sanitizers.markup import active_content

REFUSED_MAX = 0.005
TEXT_SUFFIXES = (".py", ".txt", ".rst", ".md", ".toml", ".cfg", ".json", "METADATA", ".pyi", ".html")
FILE_BYTES_MAX = 65_000
LIBRARY = sysconfig.get_path("stdlib")


def refused(sanitizer, values):
    """The values that a sanitizer refuses, each with why."""
    found = []
    for value in values:
        try:
            sanitizer.check(value)
        except Rejected as rejected:
            found.append((rejected.reason, value[:100]))
    return found


def is_within_bounds(found, count, at_least):
    assert count >= at_least, f"only {count} in the corpus"
    return len(found) <= count * REFUSED_MAX


@pytest.fixture(scope="module")
def files():
    prefixes = {sys.prefix, LIBRARY}
    return sorted({f"{folder}/{name}" for each in prefixes for folder, _, names in os.walk(each) for name in names})


@pytest.fixture(scope="module")
def texts(files):
    found = {}
    for file in files:
        if file.endswith(TEXT_SUFFIXES) and Path(file).stat().st_size < FILE_BYTES_MAX:
            try:
                found[file] = Path(file).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found


def test_paths(files):
    sanitizer = compile_sanitizer("path", {"roots": [sys.prefix, LIBRARY]})
    found = refused(sanitizer, files)
    assert is_within_bounds(found, len(files), 10_000), found[:20]


def test_addresses(texts):
    written = {
        url
        for file, text in texts.items()
        if file.endswith((".rst", ".md", ".txt", "METADATA", ".toml", ".cfg"))
        for url in re.findall(r"https?://[A-Za-z0-9.-]+\.[a-z]{2,}(?:/[\w./#?=&%~+-]*)?", text)
    }
    local = re.compile(r"https?://[^/]*(localhost|\.local|\.internal|\d+\.\d+)(/|$)")
    public = [url for url in written if not local.match(url)]
    found = refused(compile_sanitizer("url", {"schemes": ["http", "https"]}), public)
    assert is_within_bounds(found, len(public), 500), found[:20]


def test_texts(texts):
    found = refused(compile_sanitizer("text", {"max_length": FILE_BYTES_MAX}), texts.values())
    assert is_within_bounds(found, len(texts), 2_000), found[:20]


def words(markup):
    """What is left to read, however it is escaped."""
    return re.sub(r"\s", "", unescape(re.sub(r"<[^>]*>", "", markup)))


def test_markup_keeps_its_words(texts):
    pages = [
        MarkdownIt("js-default").render(text) for file, text in texts.items() if file.endswith((".md", "METADATA"))
    ]
    html, lost = compile_sanitizer("html", {}), []
    for page in pages:
        cleaned = html.check(page)
        assert active_content(cleaned) == []
        if words(cleaned) != words(page):
            lost.append(page[:100])
    assert is_within_bounds(lost, len(pages), 50), lost[:5]


def statements(dialect):
    """Queries as SQLAlchemy writes them: every combination of what to select, where, how grouped and ordered."""
    meta = sa.MetaData()
    users = sa.Table("users", meta, *(sa.Column(each, sa.Text) for each in ("name", "order", "Mixed Case", "email")),
                     sa.Column("id", sa.Integer), sa.Column("at", sa.DateTime))  # fmt: skip
    items = sa.Table("items", meta, sa.Column("user_id", sa.Integer), sa.Column("price", sa.Numeric(10, 2)))
    of_user = (
        sa.select(sa.func.max(items.c.price)).where(items.c.user_id == users.c.id).correlate(users).scalar_subquery()
    )
    ranked = sa.select(items, sa.func.rank().over(partition_by=items.c.user_id, order_by=items.c.price).label("r")).cte(
        "ranked"
    )
    selections = [
        sa.select(users),
        sa.select(users.c.name, sa.func.count().label("n")).group_by(users.c.name).having(sa.func.count() > 3),
        sa.select(
            sa.func.lower(users.c.name), sa.cast(users.c.id, sa.Numeric(8, 2)), sa.func.coalesce(users.c.email, "-")
        ),
        sa.select(users.c.id, of_user.label("most")),
        sa.select(users, ranked.c.r).join(ranked, ranked.c.user_id == users.c.id),
        sa.select(users).outerjoin(items, items.c.user_id == users.c.id).distinct(),
        sa.select(sa.case((users.c.id > 5, "high"), else_="low"), sa.extract("year", users.c.at)),
        sa.select(users.c.id).union_all(sa.select(items.c.user_id)).subquery().select(),
    ]
    conditions = [
        lambda query: query,
        lambda query: query.where(users.c.name == "x"),
        lambda query: query.where(sa.or_(users.c.name.like("a%"), users.c.email.is_(None)), users.c.id.between(1, 9)),
        lambda query: query.where(users.c.id.in_(sa.bindparam("ids", [1, 2]))),
        lambda query: query.where(
            sa.exists(sa.select(items).where(items.c.user_id == users.c.id).correlate(users)),
            sa.not_(users.c["order"] == "a"),
        ),
        lambda query: query.where(sa.tuple_(users.c.id, users.c.name) == sa.tuple_(1, "a")),
        lambda query: query.where(users.c["Mixed Case"].ilike("%x%")),
    ]
    ends = [
        lambda query: query,
        lambda query: query.limit(10).offset(20),
        lambda query: query.order_by(sa.text("1 DESC")),
    ]
    for selection, condition, end in itertools.product(selections, conditions, ends):
        if not (condition is not conditions[0] and selection is selections[-1]):
            yield str(end(condition(selection)).compile(dialect=dialect(), compile_kwargs={"render_postcompile": True}))


@pytest.mark.parametrize(
    ("name", "dialect"), [("sqlite", sqlite.dialect), ("postgres", lambda: postgresql.dialect(paramstyle="named"))]
)
def test_statements(name, dialect):
    written = list(statements(dialect))
    found = refused(compile_sanitizer("sql", {"dialect": name}), written)
    assert is_within_bounds(found, len(written), 150), found[:20]


def written_commands(text):
    """What stands behind a prompt, in a block of a shell, or in quotes behind `python -m`."""
    yield from re.findall(r"^[ #>]*\$ +([a-z][\w.-]* .*)$", text, re.MULTILINE)
    yield from re.findall(r"`+((?:python3?|pip|uv|git|npm) [^`\n]+)`+", text)
    for block in re.findall(r"```(?:bash|console|sh|shell)\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"^ *(?:\$ +)?([a-z][\w.-]* .*)$", block, re.MULTILINE)
    for block in re.findall(r"code-block:: *(?:bash|console|sh|shell)\n((?:\n|[ ]+.*\n)+)", text):
        yield from re.findall(r"^ +(?:\$ +)?([a-z][\w.-]* .*)$", block, re.MULTILINE)


def called_vectors(source):
    """Lists of texts that begin with the name of a program and have an option: what subprocesses are called with."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.List) and len(node.elts) > 1:
            values = [
                each.value for each in node.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            if len(values) == len(node.elts) and re.fullmatch(r"[a-z][a-z0-9.+-]*", values[0]) and "-" in values[1][:1]:
                yield values


def vectors(texts):
    """The commands as argument vectors; one that needs a shell, or runs another, is not meant to pass."""
    for file, text in texts.items():
        if file.endswith(".py") and "subprocess" in text:
            yield from called_vectors(text)
        for line in written_commands(text):
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                continue
            if (
                len(words) > 1
                and not iskeyword(words[0])
                and words[1] != "="
                and not line.endswith("\\")
                and not re.search(r"[|<>&;]|\$\(", line)
            ):
                yield words


def test_commands(texts):
    wanted = {tuple(each) for each in vectors(texts) if not is_launcher(each[0])}
    arguments = [r"--?[\w?][\w.-]*(?:=(?s:.*))?", r"-\w.*", "--", "-", r"(?s)[^-].*", ""]
    sanitizer = compile_sanitizer("command", {"programs": {each[0]: arguments for each in wanted}})
    found = refused(sanitizer, map(list, sorted(wanted)))
    assert is_within_bounds(found, len(wanted), 200), found[:20]


def test_a_sanitizer_that_refuses_one_in_a_hundred_is_found_out(files):
    class Strict:
        kind = "path"

        def check(self, value):
            if "test" in value:
                raise Rejected("path", "PATH_NOT_PLAIN", "says test")

    assert not is_within_bounds(refused(Strict(), files), len(files), 10_000)
