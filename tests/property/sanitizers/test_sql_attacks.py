"""Generated injections, put where a value belongs, judged by a real SQLite that says what a statement did.

They bring values or conditions of their own. What only names columns of the statement (`OR id IS NOT NULL`) is no
different from a query that was meant, so no check of a text can tell: there, binding is the whole protection.
"""

import sqlite3

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from podium.sanitizers import Rejected, compile_sanitizer

STRICT = compile_sanitizer("sql", {"dialect": "sqlite", "tables": ["products"]})
LENIENT = compile_sanitizer("sql", {"dialect": "sqlite", "tables": ["products"], "literals": True})
SEARCH = settings(max_examples=1_000, phases=[Phase.generate], database=None, derandomize=True)
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33}  # 33: SQLITE_RECURSIVE
TEMPLATES = [
    "SELECT name FROM products WHERE id = {}",
    "SELECT name FROM products WHERE name = '{}'",
    'SELECT name FROM products WHERE name = "{}"',
    "SELECT name FROM products WHERE (id = {}) AND price < :id ORDER BY name",
    "SELECT name FROM products WHERE name LIKE '%{}%' AND price < :id",
]

space = st.sampled_from([" ", " ", "/**/", "\t", "\n", "/*!50000*/", "+", "%20", "\xa0", "("])
words = st.sampled_from(
    "1 0 -1 ' '' \" ) ( or and OR oR || && not is null true false 1=1 1=2 'a'='a' \"a\"=\"a\" id=id 2>1 like '%' "
    "in (1) between 0 and 9 union all select key from secrets sqlite_master sql -- # ; drop table delete update "
    "insert into load_extension('x') randomblob(9) case when then else end exists(select limit order by group "
    "having glob admin'-- ') or ('1'='1 ` [ ] 0x31 x'31' char(65) nullif coalesce null,null @@version ? "
    ":id cast(1 as int)".split()
)
payloads = st.lists(st.tuples(words, space), min_size=1, max_size=10).map(
    lambda each: "".join(map("".join, each)).strip()
)


@pytest.fixture(scope="module")
def shop():
    return opened()


def opened():
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(
        "CREATE TABLE products (id, name, price); INSERT INTO products VALUES (1, 'pen', 5), (2, 'ink', 200);"
        "CREATE TABLE secrets (key); INSERT INTO secrets VALUES ('hidden');"
    )
    return database


def harm(database, statement):
    """What a statement does beyond reading one table: the actions that SQLite asks leave for."""
    found = []

    def ask(action, first, second, *_):
        if action not in READING or (action == sqlite3.SQLITE_READ and first not in ("products", "")):
            found.append((action, first))
        if action == sqlite3.SQLITE_FUNCTION and second in ("load_extension", "randomblob"):
            found.append((action, second))
        return sqlite3.SQLITE_DENY if found else sqlite3.SQLITE_OK

    database.set_authorizer(ask)
    try:
        database.execute(statement, {"id": 7}).fetchall()
    except (sqlite3.Error, sqlite3.Warning):
        pass
    finally:
        database.set_authorizer(None)
    return found


def widens(database, statement):
    """Whether a statement that should find nothing finds something: the condition was got around."""
    try:
        return len(database.execute(statement, {"id": 7}).fetchall()) > 0
    except (sqlite3.Error, sqlite3.Warning):
        return False


def accepts(check, statement):
    try:
        check(statement)
    except Rejected:
        return False
    return True


@given(st.sampled_from(TEMPLATES), payloads)
@settings(max_examples=400, deadline=None)
def test_no_text_that_was_put_into_a_condition_gets_around_it(shop, template, payload):
    statement = template.format(payload)
    assert not (accepts(STRICT.check, statement) and widens(shop, statement))


@given(st.sampled_from(TEMPLATES), payloads)
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("sanitizer", [STRICT, LENIENT], ids=["bound", "literals"])
def test_whatever_is_let_through_only_reads_the_table_that_is_listed(shop, sanitizer, template, payload):
    statement = template.format(payload)
    assert not (accepts(sanitizer.check, statement) and harm(shop, statement))


def naive(statement):
    """Looks for the words that write, and for a second statement."""
    bad = ("drop", "delete", "insert", "update", ";", "--")
    if not statement.lower().startswith("select") or any(each in statement.lower() for each in bad):
        raise Rejected("sql", "SQL_KIND", "must be SELECT")


def test_the_search_finds_injections_that_get_past_a_list_of_words():
    shop = opened()
    attacks = st.tuples(st.sampled_from(TEMPLATES), payloads).map(lambda each: each[0].format(each[1]))
    assert find(attacks, lambda each: accepts(naive, each) and widens(shop, each), settings=SEARCH)
    reading = find(
        st.tuples(st.just(TEMPLATES[0]), st.permutations(["0", "union", "select", "key", "from", "secrets"])).map(
            lambda each: each[0].format(" ".join(each[1]))
        ),
        lambda each: accepts(naive, each) and harm(shop, each) != [],
        settings=SEARCH,
    )
    assert "secrets" in reading


TAUTOLOGIES = [
    "1 or 1=1", "1 or 1", "1 or true", "1 or 'a'='a'", "1 or 2>1", "1 or not 0", "1 or 1 in (1)", "1 or id=id",
    "1 or 1 between 0 and 2", "1 or 'a' like '%'", "1 or ''=''", "1 or null is null", "1 || 1=1", "1 or 1 is 1",
    "1 or (select 1)", "1 or exists (select 1)", "1 or length('a')", "1 or coalesce(1,2)", "1 or -1", "1 or 1=1.0",
]  # fmt: skip


@pytest.mark.parametrize("tautology", TAUTOLOGIES)
def test_no_tautology_gets_around_a_condition_where_values_are_bound(shop, tautology):
    statement = f"SELECT name FROM products WHERE id = {tautology}"
    assert not accepts(STRICT.check, statement)


def test_most_of_them_do_get_around_it_in_the_database(shop):
    found = [each for each in TAUTOLOGIES if widens(shop, f"SELECT name FROM products WHERE id = 3 - {each}")]
    assert len(found) > len(TAUTOLOGIES) / 2
