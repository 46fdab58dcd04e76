# SPDX-License-Identifier: Apache-2.0
"""Programs that have options and single words alone: graftd, graft-transparent, and graft, which runs a command."""

from __future__ import annotations

from dataclasses import dataclass

from graft_man.sources import Flag
from graftcli.completion import for_bash


@dataclass(frozen=True, slots=True)
class Program:
    """runs: whether a command follows, behind `--`. verbs: the words of which one is due."""

    name: str
    flags: tuple[Flag, ...]
    runs: bool = False
    verbs: tuple[Flag, ...] = ()

    @property
    def function(self) -> str:
        """Its name as a part of a shell function's."""
        return self.name.replace("-", "_")

    @property
    def names(self) -> str:
        offered = [name for flag in (*self.verbs, *self.flags) for name in flag.names]
        return " ".join([*offered, *["--"] * self.runs])

    @property
    def of_files(self) -> str:
        """A pattern of the options whose value is a file."""
        return "|".join(name for flag in self.flags if flag.value == "FILE" for name in flag.names)

    @property
    def of_others(self) -> str:
        return "|".join(name for flag in self.flags if flag.value not in ("", "FILE") for name in flag.names)


_BASH_RUNS = """\
  local at
  for ((at = 1; at < COMP_CWORD; at++)); do
    [[ ${COMP_WORDS[at]} == -- ]] || continue
    if declare -F _command_offset >/dev/null; then
      _command_offset $((at + 1))
    elif ((at + 1 == COMP_CWORD)); then
      mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
    else
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
    fi
    return
  done
"""


def bash(program: Program) -> str:
    cases = []
    if program.of_files:
        cases.append(f"  {program.of_files}) files=yes ;;")
    if program.of_others:
        cases.append(f"  {program.of_others}) ;;")
    lines = "\n".join([*cases, f"  *) offered='{program.names}' ;;"])
    body = f"""\
_{program.function}_ask() {{
  local value_of=''
  while (( $# > 1 )); do
    value_of=$1
    shift
  done
  [[ $1 != --*=* ]] || value_of=${{1%%=*}}
  case $value_of in
{lines}
  esac
}}"""
    return for_bash(program.name, body, _BASH_RUNS if program.runs else "")


# What has to be escaped in a description, and in the message about a value.
_DESCRIPTION, _MESSAGE = "\\[]:", "\\:"


def _zsh_text(text: str, marks: str = _DESCRIPTION) -> str:
    for mark in marks:
        text = text.replace(mark, f"\\{mark}")
    return text.replace("'", "'\\''")


def _zsh_flag(flag: Flag, *, again: bool) -> str:
    """A specification of _arguments. again: whether an option with a value may come several times."""
    action = "_files" if flag.value == "FILE" else " "
    value = f":{_zsh_text(flag.value, _MESSAGE)}:{action}" if flag.value else ""
    but = "*" if again and flag.value else f"({' '.join(flag.names)})"
    equals = {name: "=" if value and name.startswith("--") else "" for name in flag.names}
    return " ".join(f"'{but}{name}{equals[name]}[{_zsh_text(flag.help)}]{value}'" for name in flag.names)


def zsh(program: Program) -> str:
    specifications = [_zsh_flag(flag, again=program.runs) for flag in program.flags]
    if program.runs:
        specifications += ["'(-):command:_command_names -e'", "'*::argument:_normal'"]
    if program.verbs:
        words = " ".join(f'{verb.names[0]}\\:"{_zsh_text(verb.help, _MESSAGE)}"' for verb in program.verbs)
        specifications.append(f"'1:command:(({words}))'")
    lines = " \\\n  ".join(["_arguments -s -S", *specifications])
    return f"#compdef {program.name}\n# zsh completion for {program.name}\n{lines}\n"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_verb(program: Program, verb: Flag) -> str:
    names = " ".join(verb.names[0] for verb in program.verbs)
    begins = f"-n 'not __fish_seen_subcommand_from {names}'"
    return f"complete -c {program.name} {begins} -a {verb.names[0]} -d {_fish_quoted(verb.help)}"


def _fish_flag(program: Program, flag: Flag) -> str:
    parts = [f"complete -c {program.name}", *["-n 'not __graft_runs'"] * program.runs]
    parts += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names]
    if flag.value:
        parts.append("-r -F" if flag.value == "FILE" else "-x")
    return " ".join([*parts, f"-d {_fish_quoted(flag.help)}"])


_FISH_RUNS = """\
function __graft_runs
    contains -- -- (commandline -opc)
end
function __graft_command
    set -l tokens (commandline -opc)
    set -l at (contains -i -- -- $tokens)
    set -e tokens[1..$at]
    complete -C (string join ' ' -- (string escape -- $tokens) (commandline -ct))
end
complete -c graft -n __graft_runs -x -a '(__graft_command)'
"""


def fish(program: Program) -> str:
    lines = [f"# fish completion for {program.name}", f"complete -c {program.name} -f"]
    lines += [_fish_verb(program, verb) for verb in program.verbs]
    text = "\n".join([*lines, *(_fish_flag(program, flag) for flag in program.flags)])
    return f"{text}\n{_FISH_RUNS if program.runs else ''}"
