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


def script(shell: str) -> str:
    if shell not in SHELLS:
        raise nearest(shell, SHELLS, "shell") if shell else UsageError("a shell is missing")
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _names(options: tuple[Option, ...]) -> str:
    return " ".join(f"--{option.name}" for option in options)


def _all_options() -> list[Option]:
    found = {option.name: option for command in COMMANDS for option in command.options}
    return list((found | {option.name: option for option in GLOBAL}).values())


def _choices() -> dict[str, str]:
    """Options with a value out of a few, and these."""
    return {option.name: " ".join(option.choices) for option in _all_options() if option.choices}


def _bash() -> str:
    commands = " ".join(command.name for command in COMMANDS)
    values = "\n".join(f"    --{name}) words='{choices}' ;;" for name, choices in sorted(_choices().items()))
    with_value = "|".join(["-n", "-o", *(f"--{option.name}" for option in _all_options() if option.metavar)])
    options = "\n".join(f"    {command.name}) words='{_names((*command.options, *GLOBAL))}' ;;" for command in COMMANDS)
    listed = "\n".join(f"    {name}) list={lister} ;;" for name, lister in _LISTED.items())
    return f"""\
# bash completion for graftcli: source <(graftcli completion bash)
_graftcli_ids() {{
  local target=() namespace=()
  [[ -z $2 ]] || namespace=(-n "$2")
  [[ -z $3 ]] || target=(--target "$3")
  graftcli "${{target[@]}}" "${{namespace[@]}}" --timeout 2 "$1" -o name 2>/dev/null | sed 's|.*/||'
}}
_graftcli() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local command='' namespace='' target='' words='' list='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
    -n|--namespace) namespace=${{COMP_WORDS[++i]}} ;;
    --target) target=${{COMP_WORDS[++i]}} ;;
    {with_value}) ((++i)) ;;
    -*) ;;
    *) [[ -n $command ]] || command=${{COMP_WORDS[i]}} ;;
    esac
  done
  case $previous in
    -n|--namespace|--target-namespace) words=$(_graftcli_ids list-namespaces '' "$target") ;;
    -o) words='{_choices()["output"]}' ;;
{values}
    --endpoint) words=$(_graftcli_ids list-endpoints "$namespace" "$target") ;;
    -f|--file|--tls-ca|--tls-cert|--tls-key|--path) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
  esac
  if [[ -z $words && $current == -* ]]; then
    case $command in
{options}
    *) words='{_names(GLOBAL)}' ;;
    esac
  elif [[ -z $words && -z $command ]]; then
    words='{commands}'
  elif [[ -z $words ]]; then
    case $command in
    help) words='{commands}' ;;
    completion) words='{" ".join(SHELLS)}' ;;
    {"|".join(_FILES)}) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
{listed}
    esac
    [[ -z $list ]] || words=$(_graftcli_ids "$list" "$namespace" "$target")
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -F _graftcli graftcli
"""


def _zsh() -> str:
    return f"""\
#compdef graftcli
# zsh completion for graftcli: source <(graftcli completion zsh)
autoload -U +X bashcompinit && bashcompinit
{_bash()}"""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish() -> str:
    lines = [
        "# fish completion for graftcli: graftcli completion fish | source",
        "complete -c graftcli -f",
        "function __graftcli_ids",
        "    graftcli --timeout 2 $argv -o name 2>/dev/null | string replace -r '.*/' ''",
        "end",
    ]
    for command in COMMANDS:
        lines.append(f"complete -c graftcli -n __fish_use_subcommand -a {command.name} -d {_quoted(command.summary)}")
        lines += [_fish_option(option, command) for option in command.options]
        seen = f"'__fish_seen_subcommand_from {command.name}'"
        if command.name in _LISTED:
            lines.append(f"complete -c graftcli -n {seen} -a '(__graftcli_ids {_LISTED[command.name]})'")
        elif command.name in _FILES:
            lines.append(f"complete -c graftcli -n {seen} -F")
    lines.append(f"complete -c graftcli -n '__fish_seen_subcommand_from completion' -a '{' '.join(SHELLS)}'")
    lines += [_fish_option(option, None) for option in GLOBAL]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option, command: Command | None) -> str:
    words = ["complete -c graftcli"]
    if command:
        words.append(f"-n '__fish_seen_subcommand_from {command.name}'")
    words.append(f"-l {option.name}")
    if option.short:
        words.append(f"-s {option.short}")
    if option.choices:
        words.append(f"-x -a '{' '.join(option.choices)}'")
    elif option.name == "namespace":
        words.append("-x -a '(__graftcli_ids list-namespaces)'")
    elif option.metavar:
        words.append("-r -F" if option.metavar in ("FILE", "PATH") else "-x")
    words.append(f"-d {_quoted(option.help)}")
    return " ".join(words)
