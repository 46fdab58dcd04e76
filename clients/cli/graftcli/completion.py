# SPDX-License-Identifier: Apache-2.0
"""What makes a shell complete the command line, made from the table of commands."""

from __future__ import annotations

from graftcli.cmdline import UsageError, nearest
from graftcli.commands import COMMANDS, GLOBAL, Command, Option

SHELLS = ("bash", "zsh", "fish")
# Arguments that are ids of something that can be listed.
_LISTED = {
    "show-endpoint": "list-endpoints",
    "update-endpoint": "list-endpoints",
    "delete-endpoint": "list-endpoints",
    "change": "list-endpoints",
    "replace": "list-endpoints",
    "del": "list-endpoints",
    "show": "list-endpoints",
    "show-rule": "list-rules",
    "update-rule": "list-rules",
    "delete-rule": "list-rules",
    "show-acl-rule": "list-acl-rules",
    "update-acl-rule": "list-acl-rules",
    "move-acl-rule": "list-acl-rules",
    "delete-acl-rule": "list-acl-rules",
    "show-namespace": "list-namespaces",
    "update-namespace": "list-namespaces",
    "delete-namespace": "list-namespaces",
    "export": "list-namespaces",
    "freeze": "list-namespaces",
    "unfreeze": "list-namespaces",
    "doctor": "list-namespaces",
}
_FILES = ("apply", "diff", "backup", "restore")
# What an option's value is, by its metavar; the ids of namespaces and endpoints are asked for.
_FILE_METAVARS = ("FILE", "PATH")


def script(shell: str) -> str:
    if shell not in SHELLS:
        raise nearest(shell, SHELLS, "shell") if shell else UsageError("a shell is missing")
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def for_bash(program: str, body: str, first: str = "") -> str:
    """A script for bash. body: makes `_PROGRAM_ask WORD...`, the last word being the one under way, which sets
    `offered` to the words that may stand there, or `files` to anything. bash and zsh, as ksh, both read it.
    first: what is tried before that, and returns where it was enough."""
    name = program.replace("-", "_")
    return f"""\
# bash completion for {program}
{body}
_{name}() {{
{first}\
  local offered='' files='' current cut asked
  # Words as the shell runs them; those in COMP_WORDS are cut at ':' and '=' as well.
  read -ra asked <<<"${{COMP_LINE:0:COMP_POINT}}"
  [[ ${{COMP_LINE:0:COMP_POINT}} != *[[:space:]] ]] || asked+=('')
  _{name}_ask "${{asked[@]:1}}"
  current=${{asked[${{#asked[@]}} - 1]}}
  [[ $current != --*=* ]] || current=${{current#*=}}
  if [[ -n $files ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$current")
  fi
  # What is offered takes the place of what follows the last of these alone.
  cut=${{current%"${{current##*[:=@]}}"}}
  COMPREPLY=("${{COMPREPLY[@]#"$cut"}}")
}}
complete -F _{name} {program}
"""


def for_zsh(program: str, body: str) -> str:
    """A script for zsh, to be sourced or to be found in $fpath. body: as of `for_bash`."""
    name = program.replace("-", "_")
    return f"""\
#compdef {program}
# zsh completion for {program}
{body}
_{program}() {{
  local offered='' files=''
  _{name}_ask "${{(@)words[2,CURRENT]}}"
  [[ $PREFIX != --*=* ]] || compset -P 1 '*='
  if [[ -n $files ]]; then
    _files
  else
    compadd -- ${{=offered}}
  fi
}}
if [[ $funcstack[1] == _{program} ]]; then
  _{program} "$@"
else
  compdef _{program} {program}
fi
"""


def _names(options: tuple[Option, ...]) -> str:
    return " ".join(f"--{option.name}" for option in options)


def _pattern(option: Option) -> str:
    return f"-{option.short}|--{option.name}" if option.short else f"--{option.name}"


def _with_value() -> str:
    """A pattern of every option that has a value."""
    found = {
        _pattern(one): None for one in (*GLOBAL, *(one for each in COMMANDS for one in each.options)) if one.metavar
    }
    return "|".join(found)


def _values(options: tuple[Option, ...]) -> list[str]:
    """What is offered as the value of an option, in a `case` of the option."""
    lines = []
    for option in options:
        if option.choices:
            lines.append(f"{_pattern(option)}) offered='{' '.join(option.choices)}' ;;")
        elif option.name in ("namespace", "target-namespace"):
            lines.append(f"""{_pattern(option)}) offered=$(_graftcli_ids list-namespaces '' "$target") ;;""")
        elif option.name == "endpoint":
            lines.append(f"""{_pattern(option)}) offered=$(_graftcli_ids list-endpoints "$namespace" "$target") ;;""")
        elif option.name == "netns":
            lines.append(
                f"{_pattern(option)}) offered=$(cd /run/netns 2>/dev/null && printf '%s\\n' * | _graftcli_words) ;;"
            )
        elif option.metavar in _FILE_METAVARS:
            lines.append(f"{_pattern(option)}) files=yes ;;")
    return lines


def _of_command(command: Command) -> str:
    """The `case` of one command's options and their values."""
    values = "".join(f"\n      {line}" for line in _values(command.options))
    case = f"case $value_of in{values}\n      esac" if values else ":"
    return f"""\
    {command.name})
      known='{_names((*command.options, *GLOBAL))}'
      {case} ;;"""


def _body() -> str:
    commands = " ".join(command.name for command in COMMANDS)
    listed = "\n".join(f"    {name}) list='{lister}' ;;" for name, lister in _LISTED.items())
    of_all = "\n".join(f"    {line}" for line in _values(GLOBAL))
    of_commands = "\n".join(map(_of_command, COMMANDS))
    return f"""\
# The shell would expand what it is offered: of what comes from elsewhere, plain words alone.
_graftcli_words() {{
  grep -xE '[A-Za-z0-9._-]+'
}}
_graftcli_ids() {{
  local -a asked=()
  [[ -z $2 ]] || asked=(-n "$2")
  [[ -z $3 ]] || asked=(--target "$3" "${{asked[@]}}")
  graftcli "${{asked[@]}}" --timeout 2 "$1" -o name 2>/dev/null | sed 's|.*/||' | _graftcli_words
}}
_graftcli_ask() {{
  [[ -z ${{ZSH_VERSION-}} ]] || emulate -L ksh
  local word='' command='' namespace='' target='' value_of='' known='{_names(GLOBAL)}' list=''
  while (( $# > 1 )); do
    word=$1
    shift
    case $value_of in
    -n|--namespace) namespace=$word value_of='' ;;
    --target) target=$word value_of='' ;;
    ?*) value_of='' ;;
    *)
      case $word in
      {_with_value()}) value_of=$word ;;
      --namespace=*) namespace=${{word#*=}} ;;
      --target=*) target=${{word#*=}} ;;
      -*) ;;
      *) [[ -n $command ]] || command=$word ;;
      esac ;;
    esac
  done
  [[ $1 != --*=* ]] || value_of=${{1%%=*}}
  case $command in
{of_commands}
  esac
  case $value_of in
{of_all}
  esac
  [[ -z $value_of ]] || return 0
  if [[ $1 == -* ]]; then
    offered=$known
  elif [[ -z $command ]]; then
    offered='{commands}'
  else
    case $command in
    help) offered='{commands}' ;;
    completion) offered='{" ".join(SHELLS)}' ;;
    {"|".join(_FILES)}) files=yes ;;
{listed}
    esac
    [[ -z $list ]] || offered=$(_graftcli_ids "$list" "$namespace" "$target")
  fi
}}"""


def _bash() -> str:
    return for_bash("graftcli", _body())


def _zsh() -> str:
    return for_zsh("graftcli", _body())


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish() -> str:
    commands = " ".join(command.name for command in COMMANDS)
    lines = [
        f"""\
# fish completion for graftcli
complete -c graftcli -f
function __graftcli_scan
    # What there is in front of the word under way: the command, and the options that say where and in which namespace.
    set -g __graftcli_command ''
    set -g __graftcli_where
    set -l value_of ''
    for word in (commandline -opc)[2..]
        switch $value_of
            case -n --namespace --target
                set -a __graftcli_where $value_of $word
                set value_of ''
            case '?*'
                set value_of ''
            case '*'
                switch $word
                    case {_with_value().replace("|", " ")}
                        set value_of $word
                    case '--namespace=*' '--target=*'
                        set -a __graftcli_where $word
                    case '-*'
                    case '*'
                        test -n "$__graftcli_command"; or set __graftcli_command $word
                end
        end
    end
end
function __graftcli_is
    __graftcli_scan
    contains -- "$__graftcli_command" $argv
end
function __graftcli_ids
    __graftcli_scan
    graftcli $__graftcli_where --timeout 2 $argv -o name 2>/dev/null | string replace -r '.*/' ''
end
complete -c graftcli -n '__graftcli_is help' -a '{commands}'
complete -c graftcli -n '__graftcli_is completion' -a '{" ".join(SHELLS)}'"""
    ]
    for command in COMMANDS:
        lines.append(f"complete -c graftcli -n '__graftcli_is \"\"' -a {command.name} -d {_quoted(command.summary)}")
        lines += [_fish_option(option, command) for option in command.options]
        if command.name in _LISTED:
            ids = f"-a '(__graftcli_ids {_LISTED[command.name]})'"
            lines.append(f"complete -c graftcli -n '__graftcli_is {command.name}' {ids}")
        elif command.name in _FILES:
            lines.append(f"complete -c graftcli -n '__graftcli_is {command.name}' -F")
    lines += [_fish_option(option, None) for option in GLOBAL]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option, command: Command | None) -> str:
    parts = ["complete -c graftcli"]
    if command:
        parts.append(f"-n '__graftcli_is {command.name}'")
    parts.append(f"-l {option.name}")
    if option.short:
        parts.append(f"-s {option.short}")
    if option.choices:
        parts.append(f"-x -a '{' '.join(option.choices)}'")
    elif option.name in ("namespace", "target-namespace"):
        parts.append("-x -a '(__graftcli_ids list-namespaces)'")
    elif option.name == "endpoint":
        parts.append("-x -a '(__graftcli_ids list-endpoints)'")
    elif option.name == "netns":
        parts.append("-x -a '(command ls /run/netns 2>/dev/null)'")
    elif option.metavar:
        parts.append("-r -F" if option.metavar in _FILE_METAVARS else "-x")
    parts.append(f"-d {_quoted(option.help)}")
    return " ".join(parts)
