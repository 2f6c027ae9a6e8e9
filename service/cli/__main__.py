"""`python -m service.cli`: the `podium` command where it is not installed as a program."""

from service.cli.main import run

run()
