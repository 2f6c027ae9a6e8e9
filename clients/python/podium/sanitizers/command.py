"""A command as an argument vector: a program by its exact name, and arguments that each fit a pattern of it.

There is no shell and nothing is split: what a shell would obey is only a character here. An argument that begins with
`-` is an option and must fit a pattern that begins with `-` itself, so that no value turns into one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from podium.sanitizers.declaration import Options, SpecificationRefused
from podium.sanitizers.patterns import Pattern
from podium.sanitizers.rejection import Rejected, text_of

KIND = "command"
_LENGTH_MAX = 131_072
_ARGUMENTS_MAX = 1024
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# What runs another program, or text as a program, makes the list of programs meaningless.
_LAUNCHERS = frozenset(
    "ash at bash batch busybox bwrap capsh chroot chrt choom cmd cmd.exe csh dash dbus-run-session doas env eval exec "
    "expect fakeroot firejail fish flock gdb gosu i386 ionice ksh linux32 linux64 ltrace mksh nice nohup nsenter "
    "numactl parallel pkexec posh powershell powershell.exe prlimit proot pwsh rbash rsh run-parts runcon runuser "
    "script setarch setpriv setsid sh ssh start-stop-daemon stdbuf strace su sudo systemd-run taskset tcsh time "
    "timeout toybox unbuffer unshare valgrind watch wsl wsl.exe xargs xvfb-run yash zsh".split()
)
# Releases of a shell stand beside one another: `ksh93`, `zsh-5.9`, `bash-static`.
_LAUNCHER_RELEASE = re.compile(r"(?:ba|da|k|mk|z)sh[-0-9.].*|ld(?:-linux.*|-musl.*)?\.so[.0-9]*")


def is_launcher(program: str) -> bool:
    """Whether a program, by its name or path, runs what its arguments name."""
    name = PurePosixPath(program).name.lower()
    return name in _LAUNCHERS or _LAUNCHER_RELEASE.fullmatch(name) is not None


class CommandSanitizer:
    """Refuses what is no allowed argument vector; one that passes is returned as it is.

    Options: `programs`, by exact name or absolute path, each with the patterns that its arguments must fit as a whole
    (RE2 syntax; one beginning with `-` allows an option, `--` is one of them, after which all are operands, unless an
    option before it might take it for its value); `max_length` of all arguments together.
    """

    kind = KIND

    def __init__(self, options: Mapping[str, object]) -> None:
        read = Options(KIND, options)
        programs = read.lists("programs")
        self._length_max = read.number("max_length", 32_768, _LENGTH_MAX)
        read.close()
        self._programs = {name: _Arguments(read, name, patterns) for name, patterns in programs.items()}

    def check(self, value: object) -> list[str]:
        """Return the vector, or raise Rejected."""
        if not isinstance(value, list) or not value:
            raise Rejected(KIND, "COMMAND_NOT_A_VECTOR", "must be a list of texts: the program and its arguments")
        if len(value) > _ARGUMENTS_MAX:
            raise Rejected(KIND, "TOO_LONG", f"has more than {_ARGUMENTS_MAX} arguments")
        vector = [text_of(KIND, each, self._length_max) for each in value]
        if sum(map(len, vector)) > self._length_max:
            raise Rejected(KIND, "TOO_LONG", f"is longer than {self._length_max} characters")
        if any(_CONTROL.search(each) for each in vector):
            raise Rejected(KIND, "CONTROL_CHARACTER", "holds a control character")
        arguments = self._programs.get(vector[0])
        if arguments is None:
            raise Rejected(KIND, "COMMAND_PROGRAM", "names a program that is not allowed")
        arguments.check(vector[1:])
        return vector


class _Arguments:
    """The patterns of a program's arguments, options apart from operands."""

    def __init__(self, options: Options, program: str, patterns: tuple[str, ...]) -> None:
        if not program or is_launcher(program):
            raise options.refuse("programs", "must not hold a shell or what runs others; name the program itself")
        if "/" in program and not program.startswith("/"):
            raise options.refuse("programs", "must hold bare names or absolute paths")
        try:
            self._options = [Pattern(each) for each in patterns if each.startswith("-")]
            self._operands = [Pattern(each) for each in patterns if not each.startswith("-")]
        except SpecificationRefused as refused:
            raise options.refuse("programs", f"{program}: {refused}") from None

    def check(self, arguments: list[str]) -> None:
        operands_only = may_take_a_value = False
        for number, argument in enumerate(arguments, start=1):
            is_option = argument.startswith("-") and not operands_only
            allowed = self._options if is_option else self._operands
            if not any(pattern.fits(argument) for pattern in allowed):
                reason = "COMMAND_OPTION" if is_option else "COMMAND_ARGUMENT"
                raise Rejected(KIND, reason, f"has a value that is not allowed as argument {number}")
            # To `grep -e -- -f FILE` the two dashes are what to look for, and `-f` is an option.
            operands_only = operands_only or (argument == "--" and not may_take_a_value)
            may_take_a_value = may_take_a_value or (is_option and "=" not in argument)
