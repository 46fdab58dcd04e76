# SPDX-License-Identifier: Apache-2.0
"""What bash, zsh and fish offer for the project's commands: the shells themselves are asked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graft_completion import grammar
from graft_completion.scripts import BASH, FISH, ZSH, scripts
from graft_man import sources
from graftcli.commands import COMMANDS, GLOBAL
from unit import shells

Ask = Callable[[str], set[str]]
# Stands in for graftcli and ip-graft: tells what they were asked.
_FAKE = """\
#!/bin/sh
case "$*" in
*list-namespaces*) echo namespaces/web; echo namespaces/db; echo 'namespaces/$(touch${IFS}ran)' ;;
*-n\\ web*list-endpoints*) echo namespaces/web/endpoints/ep-web ;;
*list-endpoints*) echo namespaces/web/endpoints/ep-any ;;
"-n web show") echo "ep-web: type ipv4 addr 10.0.0.2 port 80" ;;
show) echo "ep-own: type unix path @x" ;;
esac
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, installed, and programs that answer them."""
    folder = tmp_path_factory.mktemp("share")
    for place, text in scripts().items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "bin").mkdir()
    for name in ("graftcli", "ip-graft"):
        (folder / "bin" / name).write_text(_FAKE)
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def ask(
    request: pytest.FixtureRequest, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], set[str]]]:
    """What the shell offers for a line."""
    place = {"bash": BASH, "zsh": ZSH, "fish": FISH}[request.param]
    every: dict[str, Callable[[Path, Path, dict[str, str]], shells.Shell]]
    every = {"bash": shells.bash, "zsh": shells.zsh, "fish": shells.Fish}
    environment = {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}"}
    shell = every[request.param]((installed / place).parent, tmp_path_factory.mktemp("home"), environment)
    yield shell.ask
    shell.close()


def test_every_command_has_a_script_for_every_shell() -> None:
    programs = ("graft", "graft-transparent", "graftcli", "graftd", "ip-graft")
    assert set(scripts()) == {place.format(program) for place in (BASH, ZSH, FISH) for program in programs}


def test_graftcli(ask: Ask) -> None:
    assert ask("graftcli list-") == {one.name for one in COMMANDS if one.name.startswith("list-")}
    assert ask("graftcli --target unix:/x -n web add-e") == {"add-endpoint"}
    (add,) = (one for one in COMMANDS if one.name == "add-endpoint")
    assert ask("graftcli add-endpoint --") == {f"--{option.name}" for option in (*add.options, *GLOBAL)}
    assert ask("graftcli list-endpoints --output=j") == {"--output=json"}
    assert ask("graftcli -n web add-endpoint x --type ") == {"ipv4", "ipv6", "unix"}


def test_graftcli_asks_graftd(ask: Ask) -> None:
    assert {"web", "db"} <= ask("graftcli -n ") <= {"web", "db", "$(touch${IFS}ran)"}
    assert not list(Path.cwd().glob("ran")), "the shell ran what a server answered"
    assert ask("graftcli -n web show-endpoint ") == {"ep-web"}
    assert ask("graftcli show-endpoint ") == {"ep-any"}
    assert ask("graftcli -n web list-rules --endpoint ") == {"ep-web"}


def test_graftcli_offers_files(ask: Ask, tmp_path: Path) -> None:
    for name in ("web.yaml", "web.json"):
        (tmp_path / name).touch()
    due = {f"{tmp_path}/web.json", f"{tmp_path}/web.yaml"}
    assert ask(f"graftcli apply --file {tmp_path}/we") == due
    assert ask(f"graftcli apply {tmp_path}/we") == due


def test_what_the_shell_cuts_words_at(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a:b.yaml").touch()
    # fish offers a second path behind a colon as well.
    assert f"{tmp_path}/a:b.yaml" in {one.replace("\\", "") for one in ask(f"graftcli apply {tmp_path}/a:")}
    assert ask("graftcli --target=unix:/x -n web show-e") == {"show-endpoint"}
    assert ask("graftcli --target unix:/x list-endpoints --color=al") == {"--color=always"}


def test_graftd(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "graftd.toml").touch()
    names = {name for flag in sources.graftd_options() for name in flag.names}
    assert ask("graftd -") - names == set()
    assert ask("graftd --") == {name for name in names if name.startswith("--")}
    assert ask(f"graftd --config {tmp_path}/") == {f"{tmp_path}/graftd.toml"}
    assert ask(f"graftd --check-config={tmp_path}/graftd.") <= {
        f"--check-config={tmp_path}/graftd.toml",
        f"{tmp_path}/graftd.toml",
    }


def test_graft(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "page.html").touch()
    assert ask("graft -") - {"--"} == {name for flag in sources.graft().options for name in flag.names}
    assert ask("graft -i ") == set()
    assert ask("graft -v -i *:80=ep -- sha256s") == {"sha256sum"}
    assert ask(f"graft -e 10.0.0.0/8=ep -- cat {tmp_path}/pa") == {f"{tmp_path}/page.html"}


def test_graft_transparent(ask: Ask) -> None:
    assert ask("graft-transparent ") - {"--json", "-h", "--help", "-V", "--version"} == {"load", "unload", "status"}
    assert ask("graft-transparent un") == {"unload"}
    assert ask("graft-transparent status --j") == {"--json"}


def test_ip_graft(ask: Ask) -> None:
    assert ask("ip-graft ") == {*sources.ip_graft_commands(), "help"}
    assert ask("ip-graft -") == set(grammar.options())
    assert ask("ip-graft -j -n web rule ") == {"show", "add", "replace", "del", "load", "flush"}
    assert ask("ip-graft rule add ingress proto ") == {"tcp", "udp", "both"}
    assert ask("ip-graft acl add allow uid 5 own-ids ") == {
        *("index", "deny", "endpoint", "verb", "gid", "to", "port", "proto", "local", "abort")
    }
    assert ask("ip-graft change ep-web type ") == {"ipv4", "ipv6", "unix"}
    assert ask("ip-graft help mon") == {"monitor"}


def test_ip_graft_asks_the_kernel(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "rules").touch()
    assert ask("ip-graft del ") == {"ep-own"}
    assert ask("ip-graft delete ") == {"ep-own"}
    assert ask("ip-graft -n web show ") == {"ep-web"}
    assert ask("ip-graft -netns web acl add allow endpoint ") == {"ep-web"}
    assert ask("ip-graft add ") == set()
    assert "lo" in ask("ip-graft add ep type ipv4 dev ")
    assert ask(f"ip-graft rule load {tmp_path}/ru") == {f"{tmp_path}/rules"}


# What is offered comes from the usage


def test_every_word_of_ip_grafts_usage_is_offered() -> None:
    places = grammar.places()
    offered = {word for place in places.values() for word in place.keywords}
    offered |= {word for place in places.values() for values in place.values.values() for word in values}
    offered |= set(sources.ip_graft_commands())
    for usage in sources.ip_graft_usages().values():
        for line in usage.synopsis:
            for word in re.findall(r"(?<!\S)[a-z][a-z0-9-]*(?!\S)", line):
                assert word in offered | {"ip-graft"}, line


def test_places_of_ip_graft() -> None:
    places = grammar.places()
    assert [*places["table set"].keywords] == ["max-sockets", "max-ephemeral", "max-endpoints"]
    assert [*places["sockets"].keywords] == ["show", "abort"]
    assert places["rule load"].values == {"load": {"FILE": None, "-": None}}
    assert places["replace"].values["type"] == places["add"].values["type"]
    assert "abort" in places["replace"].keywords
    assert "abort" not in places["add"].keywords
    assert set(places) == {
        *sources.ip_graft_commands(),
        "help",
        *(f"rule {verb}" for verb in places["rule"].keywords),
        *(f"acl {verb}" for verb in places["acl"].keywords),
        *(f"table {verb}" for verb in places["table"].keywords),
        *(f"sockets {verb}" for verb in places["sockets"].keywords),
    }
