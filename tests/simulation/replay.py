"""Live through one seed of the simulation again, and print what is wrong in it.

    python -m tests.simulation.replay SEED [RULE=VALUE ...]

The rules are the fields of `world.Rules`, with values as JSON: fencing=false. Exits with 1 when something is wrong.
"""

import json
import sys
from dataclasses import asdict

from tests.simulation.world import Rules, violations_of


def command(seed, rules=None):
    """The command that lives through a seed again."""
    usual = asdict(Rules())
    options = [
        f"{name}={json.dumps(value)}" for name, value in asdict(rules or Rules()).items() if value != usual[name]
    ]
    return " ".join(["python -m tests.simulation.replay", str(seed), *options])


def main(seed, *options):
    rules = Rules(**{name: json.loads(value) for name, _, value in (option.partition("=") for option in options)})
    found = violations_of(int(seed), rules)
    sys.stdout.write("".join(f"{violation}\n" for violation in found) or "nothing is wrong\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
