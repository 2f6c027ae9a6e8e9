"""Conditions as trees: each can be written as CEL, and be evaluated here without CEL.

A tree is a tuple: ("eq", path, literal), ("and", left, right) and so on, with a path as a tuple of names. What CEL
makes of a missing member or a wrong type is ERROR here; a certain side of && and || swallows the error of the other.
"""

import json

ERROR = "error"
NAMES = ("a", "b", "dept")
LITERALS = (0, 1, 5, "x", "night", True, None)
PATHS = (
    ("arguments", "a"),
    ("arguments", "b", "a"),
    ("claims", "dept"),
    ("claims", "a", "b"),
    ("principal", "subject"),
    ("principal", "roles"),
    ("tool",),
    ("address",),
)
NOON_S = 1_767_268_800


DYNAMIC = tuple(path for path in PATHS if path[0] in ("arguments", "claims"))
TEXTS = tuple(path for path in PATHS if path != ("principal", "roles"))
LEAVES = {
    "eq": lambda chance, path: (path, chance.choice(LITERALS if len(path) > 1 else ("x", "night", "billing-refund"))),
    "less": lambda chance, _: (chance.choice(DYNAMIC), chance.choice((0, 1, 5))),
    "has": lambda chance, _: (chance.choice(DYNAMIC),),
    "starts": lambda chance, _: (chance.choice(TEXTS), chance.choice(("", "x", "10.", "bi"))),
    "any": lambda chance, _: (chance.choice((*DYNAMIC, ("principal", "roles"))), chance.choice(LITERALS)),
    "role": lambda chance, _: (chance.choice("abc"),),
    "after": lambda chance, _: (NOON_S + chance.randrange(-2, 3),),
    "constant": lambda chance, _: (chance.random() < 0.5,),
}


def generate(chance, depth=2):
    """A random condition."""
    kind = chance.choice((*LEAVES, "eq", *(("and", "or", "not") if depth else ())))
    if kind in LEAVES:
        return kind, *LEAVES[kind](chance, chance.choice(PATHS))
    return kind, *(generate(chance, depth - 1) for _ in range(1 if kind == "not" else 2))


def written(tree):
    """The condition as CEL."""
    kind, *rest = tree
    if kind in ("and", "or"):
        return f"({written(rest[0])}) {'&&' if kind == 'and' else '||'} ({written(rest[1])})"
    if kind == "not":
        return f"!({written(rest[0])})"
    if kind == "role":
        return f'"{rest[0]}" in principal.roles'
    if kind == "after":
        return f"int(time) >= {rest[0]}"
    if kind == "constant":
        return json.dumps(rest[0])
    path = ".".join(rest[0])
    return {
        "has": lambda: f"has({path})",
        "eq": lambda: f"{path} == {json.dumps(rest[1])}",
        "less": lambda: f"{path} < {rest[1]}",
        "starts": lambda: f"{path}.startsWith({json.dumps(rest[1])})",
        "any": lambda: f"{path}.exists(each, each == {json.dumps(rest[1])})",
    }[kind]()


def reads_arguments(tree):
    """Whether the condition names arguments."""
    return any(
        part == ("arguments", *part[1:])
        if isinstance(part, tuple) and part[:1] == ("arguments",)
        else reads_arguments(part)
        for part in tree[1:]
        if isinstance(part, tuple) and part
    )


def evaluate(tree, facts):
    """True, False or ERROR."""
    kind, *rest = tree
    if kind in ("and", "or"):
        return _both(kind, *(evaluate(each, facts) for each in rest))
    if kind == "not":
        inner = evaluate(rest[0], facts)
        return inner if inner is ERROR else not inner
    if kind == "role":
        return rest[0] in facts["principal"]["roles"]
    if kind == "after":
        return facts["time_s"] >= rest[0]
    if kind == "constant":
        return rest[0]
    return _compared(kind, rest, facts)


def _both(kind, left, right):
    deciding = kind == "or"
    if deciding in (left, right):
        return deciding
    return ERROR if ERROR in (left, right) else not deciding


def _compared(kind, rest, facts):
    if kind == "has":
        *way, last = rest[0]
        holder = _found(way, facts)
        return last in holder if isinstance(holder, dict) else ERROR
    value = _found(rest[0], facts)
    if value is ERROR:
        return ERROR
    if kind == "eq":
        return _equal(value, rest[1])
    if kind == "less":
        return value < rest[1] if type(value) in (int, float) else ERROR
    if kind == "starts":
        return value.startswith(rest[1]) if isinstance(value, str) else ERROR
    return any(_equal(each, rest[1]) for each in value) if isinstance(value, list | dict) else ERROR


def _found(path, facts):
    value = facts
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return ERROR
        value = value[name]
    return value


def _equal(left, right):
    """CEL's equality: of two kinds nothing is equal, but numbers are one kind, and true is no number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right
