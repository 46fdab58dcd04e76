# SPDX-License-Identifier: Apache-2.0
"""What graftcli imports before it says anything, and the scripts that make shells complete it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graftcli.commands import COMMANDS, GLOBAL
from graftcli.completion import SHELLS, script
from graftcli.helping import of_command, overview

TREE = Path(__file__).resolve().parents[2]
PATH = [str(TREE), str(TREE / "clients/cli"), str(TREE / "clients/python"), str(TREE / "build/stubs")]
# Of these, each costs more than everything that --help needs.
DEAR = {"grpc", "google", "yaml", "graft_client", "ipaddress", "dataclasses", "inspect", "asyncio", "ssl", "argparse"}


def imported(*words: str) -> set[str]:
    """The modules that a command line imports, in an interpreter that has none of ours yet."""
    program = (
        f"import sys; sys.path[:0] = {PATH!r}; before = set(sys.modules)\n"
        f"from graftcli.main import main\nstatus = main({list(words)!r})\n"
        "print('\\n'.join(set(sys.modules) - before), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "line", ["--help", "help", "help apply", "add-endpoint --help", "--version", "completion bash"]
)
def test_help_imports_little(line: str) -> None:
    found = imported(*line.split())
    assert not DEAR & {name.partition(".")[0] for name in found}
    assert len(found) < 45, sorted(found)


def test_every_command_has_its_help() -> None:
    for command in COMMANDS:
        assert f"  {command.name} " in overview()
        text = of_command(command)
        assert text.startswith(f"Usage: graftcli {command.name} [OPTIONS]")
        for option in (*command.options, *GLOBAL):
            assert f"--{option.name}" in text
        assert max(map(len, text.splitlines())) <= 120


def test_every_command_has_its_handler() -> None:
    import importlib

    for command in COMMANDS:
        if command.handler:
            module, _, function = command.handler.partition(":")
            assert callable(getattr(importlib.import_module(f"graftcli.{module}"), function)), command.name


def test_no_option_of_a_command_hides_one_of_all() -> None:
    names = {option.name for option in GLOBAL}
    shorts = {option.short for option in GLOBAL if option.short}
    for command in COMMANDS:
        assert not names & {option.name for option in command.options}
        assert not shorts & {option.short for option in command.options if option.short}


def complete(*words: str) -> set[str]:
    """What bash offers at the end of a command line whose last word is begun."""
    program = f"""\
{script("bash")}
COMP_LINE='{" ".join(words)}'
COMP_POINT=${{#COMP_LINE}}
graftcli() {{ echo "namespaces/web/$*" | sed 's/ .*list-endpoints.*/.ep/; s/ .*list-namespaces.*/.ns/'; }}
_graftcli
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes() -> None:
    for command in COMMANDS:
        due = {f"--{option.name}" for option in (*command.options, *GLOBAL)}
        assert complete("graftcli", "-n", "web", command.name, "--") == due
    assert complete("graftcli", "list-") == {c.name for c in COMMANDS if c.name.startswith("list-")}
    assert complete("graftcli", "-n", "web", "add-e") == {"add-endpoint"}
    assert complete("graftcli", "add-endpoint", "--pr") == {"--protocol", "--privileged"}
    assert complete("graftcli", "list-endpoints", "-o", "") == {"table", "wide", "json", "yaml", "name"}
    assert complete("graftcli", "add-rule", "--direction", "in") == {"ingress"}
    assert complete("graftcli", "watch", "--type", "e") == {"endpoint"}
    assert complete("graftcli", "add-endpoint", "--type", "") == {"ipv4", "ipv6", "unix"}
    assert complete("graftcli", "add-endpoint", "--mark", "") == set()
    assert complete("graftcli", "completion", "") == set(SHELLS)
    assert complete("graftcli", "help", "fr") == {"freeze"}


def test_bash_completes_what_graftd_has() -> None:
    # What stands for graftcli answers with its first option and what it was asked to list.
    assert complete("graftcli", "show-endpoint", "") == {"--timeout.ep"}
    assert complete("graftcli", "-n", "web", "show-endpoint", "") == {"-n.ep"}
    assert complete("graftcli", "--target", "unix:/x", "-n", "web", "list-rules", "--endpoint", "") == {"--target.ep"}
    assert complete("graftcli", "-n", "") == {"--timeout.ns"}
    assert complete("graftcli", "freeze", "") == {"--timeout.ns"}


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_whole(shell: str) -> None:
    text = script(shell)
    for command in COMMANDS:
        assert command.name in text
        for option in command.options:
            assert option.name in text
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_an_option_has_a_value_in_every_command_or_in_none() -> None:
    """The scripts go by that to tell values from commands."""
    options = [*GLOBAL, *(option for command in COMMANDS for option in command.options)]
    with_value = {option.name for option in options if option.metavar}
    assert not with_value & {option.name for option in options if not option.metavar}
