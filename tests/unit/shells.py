# SPDX-License-Identifier: Apache-2.0
"""Asks real shells what they offer for a command line that is begun."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_PATIENCE = 20.0
# Inserts every candidate, prints the line. No longer key begins with one of these, for which a shell would wait.
_ALL, _SHOW = "\x14", "\x19"
# What a shell prints for us is between these, which no echo of a command has.
_ANSWER = re.compile(r"<\{(.*?)\}>")

_BASH = r"""
bind 'set enable-bracketed-paste off'
bind '"\C-t": insert-completions'
__show() { printf '%s%s%s\n' '<' "{$READLINE_LINE}" '>'; READLINE_LINE=''; }
bind -x '"\C-y": __show'
for script in FOLDER/*; do source "$script"; done
printf '%s%s\n' '<{ready' '}>'
"""
_ZSH = r"""
unsetopt beep
fpath=(FOLDER $fpath)
autoload -Uz compinit && compinit -u -D
zstyle ':completion:all-matches:*' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert yes
zle -C all-matches complete-word _generic
bindkey '^T' all-matches
__show() { print -r -- '<'"{$BUFFER}"'>'; BUFFER=''; }
zle -N __show
bindkey '^Y' __show
print -r -- '<{ready''}>'
"""


class Shell(Protocol):
    """A shell that can be asked."""

    def ask(self, line: str) -> set[str]:
        """What is offered for the last word."""

    def close(self) -> None:
        """End it."""


class Terminal:
    """An interactive shell that is asked one line after another."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            with contextlib.suppress(OSError):
                os.execvpe(command[0], command, {"TERM": "dumb", "LC_ALL": "C.UTF-8", "PS1": "", **environment})
            os._exit(127)
        assert self._answer() == "ready"

    def ask(self, line: str) -> set[str]:
        """As Shell. A word that is whole already is not told: it stands there in either case."""
        os.write(self._terminal, f"{line}{_ALL}{_SHOW}".encode())
        words, begun = self._answer().split(" "), line.split(" ")
        assert words[: len(begun) - 1] == begun[:-1]
        return set(words[len(begun) - 1 :]) - {begun[-1], ""}

    def _answer(self) -> str:
        text = ""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if not select.select([self._terminal], [], [], 0.2)[0]:
                continue
            text += os.read(self._terminal, 65536).decode(errors="replace").replace("\r", "").replace("\n", "")
            if found := _ANSWER.search(text):
                return found[1]
        raise AssertionError(f"the shell did not answer within {_PATIENCE} s: {text!r}")

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


def bash(scripts: Path, home: Path, environment: Mapping[str, str]) -> Terminal:
    """A bash that has sourced everything in the folder ``scripts``; ``home`` is a folder of its own."""
    (home / "bashrc").write_text(_BASH.replace("FOLDER", str(scripts)))
    return Terminal(["bash", "--noprofile", "--rcfile", str(home / "bashrc"), "-i"], environment)


def zsh(scripts: Path, home: Path, environment: Mapping[str, str]) -> Terminal:
    """A zsh that finds the folder ``scripts`` in fpath."""
    (home / ".zshrc").write_text(_ZSH.replace("FOLDER", str(scripts)))
    return Terminal(["zsh", "-i"], {"ZDOTDIR": str(home), **environment})


class Fish:
    """fish can be asked without a terminal."""

    def __init__(self, scripts: Path, home: Path, environment: Mapping[str, str]) -> None:
        self._scripts = scripts
        self._environment = {"TERM": "dumb", "LC_ALL": "C.UTF-8", "HOME": str(home), **environment}

    def ask(self, line: str) -> set[str]:
        program = f"for script in {self._scripts}/*; source $script; end; complete -C $argv[1]"
        done = subprocess.run(
            ["fish", "--no-config", "-c", program, line],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        assert done.stderr == ""
        return {one.partition("\t")[0] for one in done.stdout.splitlines()}

    def close(self) -> None:
        """Nothing is open."""
