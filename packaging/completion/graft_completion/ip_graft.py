# SPDX-License-Identifier: Apache-2.0
"""ip-graft: its words, by the grammar of its usage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graft_completion import grammar
from graft_completion.grammar import Place
from graft_man import sources
from graftcli.completion import for_bash, for_zsh
from ip_graft.main import ALIASES

# What stands for a value, and the list that is asked for then.
_NETNS, _ENDPOINTS, _DEVICES, _FILES = "netns", "endpoints", "devices", "files"


@dataclass(frozen=True, slots=True)
class _Value:
    """What follows a keyword of a place: words, and a list."""

    place: str
    keyword: str
    words: tuple[str, ...]
    listed: str


def _values() -> Iterator[_Value]:
    for name, place in grammar.places().items():
        for keyword, values in place.values.items():
            words = tuple(filter(grammar.is_literal, values))
            yield _Value(name, keyword, words, _listed(name, keyword, [*values]))


def _listed(place: str, keyword: str, values: list[str]) -> str:
    match values:
        case ["FILE", *_]:
            return _FILES
        case ["DEVICE"]:
            return _DEVICES
        case ["NAME", "PID"]:
            return _NETNS
        case ["NAME"] if (place, keyword) != ("add", "add"):  # one that there is not yet
            return _ENDPOINTS
    return ""


def _pattern(options: dict[str, str]) -> list[str]:
    """How the option that has a value may be written."""
    (long,) = (option for option, value in options.items() if value)
    return [long[:2], long, f"-{long}"]


# bash and zsh

_LISTS = {
    _NETNS: "$(cd /run/netns 2>/dev/null && printf '%s\\n' * | grep -xE '[A-Za-z0-9._-]+')",
    _ENDPOINTS: '$(_ip_graft_endpoints "$netns")',
    _DEVICES: "$(ls /sys/class/net 2>/dev/null)",
}


def _case(value: _Value) -> str:
    if value.listed == _FILES:
        return f"  '{value.place}:{value.keyword}') files=yes ;;"
    offered = " ".join([*value.words, *filter(None, [_LISTS.get(value.listed)])])
    return f"""  '{value.place}:{value.keyword}') offered="{offered}" ;;"""


def _body() -> str:
    options, places = grammar.options(), grammar.places()
    of_verbs = "|".join(f"'{name}'" for name in places if " " in name)
    aliases = "\n".join(f"  {alias}) command={name} ;;" for alias, name in ALIASES.items())
    values = "\n".join(map(_case, _values()))
    keywords = "\n".join(
        f"  '{name}') known='{' '.join(place.keywords)}' ;;" for name, place in places.items() if place.keywords
    )
    return f"""\
_ip_graft_endpoints() {{
  local -a asked=()
  [[ -z $1 ]] || asked=(-n "$1")
  ip-graft "${{asked[@]}}" show 2>/dev/null | sed 's/: .*//'
}}
_ip_graft_ask() {{
  [[ -z ${{ZSH_VERSION-}} ]] || emulate -L ksh
  local word='' option='' netns='' command='' verb='' last='' said=' ' known=''
  while (( $# > 1 )); do
    word=$1
    shift
    if [[ -n $option ]]; then
      netns=$word option=''
    elif [[ -n $command ]]; then
      verb=${{verb:-$word}} said+="$word " last=$word
    else
      case $word in
      {"|".join(_pattern(options))}) option=$word ;;
      -*) ;;
      *) command=$word last=$word ;;
      esac
    fi
  done
  if [[ -n $option ]]; then
    offered="{_LISTS[_NETNS]}"
    return 0
  elif [[ -z $command && $1 == -* ]]; then
    offered='{" ".join(options)}'
    return 0
  elif [[ -z $command ]]; then
    offered='{" ".join([*sources.ip_graft_commands(), "help"])}'
    return 0
  fi
  case $command in
{aliases}
  esac
  [[ $said != ' ' ]] || last=$command
  case "$command $verb" in
  {of_verbs}) command="$command $verb" ;;
  esac
  case "$command:$last" in
{values}
  *)
    case $command in
{keywords}
    esac
    for word in $known; do
      [[ $said == *" $word "* ]] || offered+=" $word"
    done ;;
  esac
}}"""


def bash() -> str:
    return for_bash("ip-graft", _body())


def zsh() -> str:
    return for_zsh("ip-graft", _body())


# fish

_FISH_LISTS = {
    _NETNS: "command ls /run/netns 2>/dev/null",
    _ENDPOINTS: "ip-graft $netns show 2>/dev/null | string replace -r ': .*' ''",
    _DEVICES: "command ls /sys/class/net 2>/dev/null",
    _FILES: "__fish_complete_path (commandline -ct)",
}


def _fish_value(value: _Value) -> str:
    lines = [f"        case '{value.place}:{value.keyword}'"]
    if value.words:
        lines.append(f"            string split ' ' '{' '.join(value.words)}'")
    if value.listed:
        lines.append(f"            {_FISH_LISTS[value.listed]}")
    return "\n".join(lines)


def _fish_place(name: str, place: Place) -> str:
    return f"""\
                case '{name}'
                    set known {" ".join(place.keywords)}"""


def fish() -> str:
    options, places = grammar.options(), grammar.places()
    aliases = "\n".join(f"        case {alias}\n            set command {name}" for alias, name in ALIASES.items())
    of_verbs = " ".join(f"'{name}'" for name in places if " " in name)
    values = "\n".join(map(_fish_value, _values()))
    keywords = "\n".join(_fish_place(name, place) for name, place in places.items() if place.keywords)
    return f"""\
# fish completion for ip-graft
function __ip_graft_ask
    set -l option ''
    set -l netns
    set -l command ''
    set -l said
    for word in (commandline -opc)[2..]
        if test -n "$option"
            set netns -n $word
            set option ''
        else if test -n "$command"
            set -a said $word
        else
            switch $word
                case {" ".join(_pattern(options))}
                    set option $word
                case '-*'
                case '*'
                    set command $word
            end
        end
    end
    if test -n "$option"
        {_FISH_LISTS[_NETNS]}
        return
    else if test -z "$command"; and string match -q -- '-*' (commandline -ct)
        string split ' ' -- '{" ".join(options)}'
        return
    else if test -z "$command"
        string split ' ' '{" ".join([*sources.ip_graft_commands(), "help"])}'
        return
    end
    switch $command
{aliases}
    end
    set -l last $command
    set -q said[1]; and set last $said[-1]
    if contains -- "$command $said[1]" {of_verbs}
        set command "$command $said[1]"
    end
    switch "$command:$last"
{values}
        case '*'
            set -l known
            switch $command
{keywords}
            end
            for word in $known
                contains -- $word $said; or echo $word
            end
    end
end
complete -c ip-graft -f -a '(__ip_graft_ask)'
"""
