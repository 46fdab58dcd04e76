# SPDX-License-Identifier: Apache-2.0
"""The manual pages: nothing that a program, a file or the module has is missing in its page, and examples are right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from google.protobuf import json_format

from graft.v1 import endpoint_pb2, rule_pb2
from graft_man import inserts, sources
from graft_man.pages import EXAMPLES, page, pages
from graftcli.commands import COMMANDS, GLOBAL
from graftcli.exits import MEANINGS
from graftd._settings import Table
from graftd.config import Config
from graftd.model import Reason

ROOT = Path(__file__).resolve().parents[2]
PAGES = pages()
KMOD = ROOT / "kmod"


def plain(text: str) -> str:
    """A page's text, as far as it is needed to find words in it."""
    for written, meant in (
        (r"\-", "-"),
        (r"\(aq", "'"),
        (r"\(dq", '"'),
        (r"\(ga", "`"),
        (r"\(ti", "~"),
        (r"\(ha", "^"),
    ):
        text = text.replace(written, meant)
    return re.sub(r"\\f[BIR]|\\&", "", text).replace(r"\e", "\\").replace(r"\~", " ")


def section(name: str, title: str) -> str:
    """A section of a page, as plain text."""
    _, _, rest = PAGES[name].partition(f"\n.SH {title}\n")
    assert rest, f"{name} has no section {title}"
    return plain(rest.partition("\n.SH ")[0])


def tags(text: str) -> set[str]:
    """The words of what is explained in a text: the lines behind .TP."""
    lines = text.splitlines()
    return {word for before, line in pairwise(lines) if before == ".TP" for word in line.split()}


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_][\w-]*", text))


def test_every_page_is_there() -> None:
    assert set(PAGES) == {
        *("graft.1", "graftcli.1", "graftd.toml.5", "af_graft.7", "graftd.8", "ip-graft.8"),
        *("graft-cni.8", "graft-oci-hook.8", "graft-transparent.8"),
    }
    for name, text in PAGES.items():
        title, _, number = name.rpartition(".")
        assert f".TH {title.upper()} {number} " in plain(text)
        assert [one for one in re.findall(r"^\.SH (.*)$", text, re.MULTILINE) if one in ("NAME", "SEE ALSO")]
        assert "@VERSION@" not in text
        assert '.\\" in' not in text


def test_pages_refer_to_pages_that_there_are() -> None:
    ours = {re.sub(r"\.(\d)$", r"(\1)", name) for name in PAGES}
    for name, text in PAGES.items():
        for title, number in re.findall(r"^\.BR ([\w\\.-]+) \((\d)\)", text, re.MULTILINE):
            reference = f"{plain(title)}({number})"
            if "graft" in reference:
                assert reference in ours, name
        assert ours - {re.sub(r"\.(\d)$", r"(\1)", name)} & ours
        also = section(name, "SEE ALSO")
        assert len(re.findall(r"^\.BR ", also, re.MULTILINE)) >= 2


# What --help says


def test_graftcli() -> None:
    text = section("graftcli.1", "COMMANDS")
    for place, command in enumerate(COMMANDS):
        head = f"\n.TP\n{command.name} {command.arguments}".rstrip()
        assert f"{head}\n{command.summary}\n" in f"{text}\n"
        following = COMMANDS[place + 1].name if place + 1 < len(COMMANDS) else "\0"
        own = text.partition(f"{head}\n")[2].partition(f"\n.TP\n{following}")[0]
        for option in command.options:
            assert f"--{option.name} {option.metavar}".rstrip() in own, command.name
    of_all = section("graftcli.1", "OPTIONS OF EVERY COMMAND")
    for option in GLOBAL:
        assert f"--{option.name} {option.metavar}".rstrip() + f"\n{option.help}" in of_all
    assert tags(section("graftcli.1", "EXIT STATUS")) == {str(number) for number in MEANINGS}


def test_graftd() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graftd", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", done.stdout.partition("options:")[2].partition("\n\n")[0]))
    assert {"-h", "--config", "--check-config", "--version"} <= options
    assert options <= {word.rstrip(",") for word in tags(section("graftd.8", "OPTIONS"))}


def test_graft() -> None:
    usage = sources.graft_usage()
    assert usage.startswith("Usage: graft ")
    options = set(re.findall(r"(?<!\S)-(?:-[a-z]+|[a-zA-Z])\b", usage.partition("\n\n")[2].partition("\n\n")[0]))
    assert options == {"-i", "-e", "-v", "--verbose", "-h", "--help", "-V", "--version"}
    assert options <= {word.rstrip(",") for word in tags(section("graft.1", "OPTIONS"))}
    notes = " ".join(section("graft.1", "DESCRIPTION").split())
    for paragraph in sources.graft().paragraphs:
        assert paragraph in notes


def test_ip_graft() -> None:
    shown = section("ip-graft.8", "COMMANDS")
    for commands, usage in sources.ip_graft_usages().items():
        assert f"\n.SS {', '.join(commands)}\n" in f"\n{shown}"
        for line in usage.synopsis:
            assert f"\n{line}\n" in shown
        for paragraph in usage.paragraphs:
            assert paragraph in shown
    explained = {word.rstrip(",") for word in tags(section("ip-graft.8", "OPTIONS").replace('", "', ", "))}
    for short, rest in re.findall(r"-(\w)\[(\w+)\]", sources.IP_GRAFT_USAGE):
        assert {f"-{short}", f"-{short}{rest}"} <= {word.strip('."') for word in explained} | explained


# What the programs in Go take


def in_go(name: str) -> str:
    return (ROOT / "clients/go" / name).read_text()


def go_usage(name: str) -> str:
    """What --help prints."""
    found = re.search(r"const usage = `(.*?)`", in_go(f"cmd/{name}/main.go"), re.DOTALL)
    assert found is not None
    return found[1]


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


def test_graft_oci_hook() -> None:
    usage = go_usage("graft-oci-hook")
    assert {"--endpoint", "--transparent", "--out", "--version"} <= options_in(usage)
    assert options_in(usage) <= options_in(section("graft-oci-hook.8", "OPTIONS"))
    commands = section("graft-oci-hook.8", "COMMANDS")
    for verb in re.findall(r'case "([^-].*)":', in_go("cmd/graft-oci-hook/main.go")):
        for word in verb.split('", "'):
            assert re.search(rf"^\.B {word}\b", commands, re.MULTILINE), word
    annotations = section("graft-oci-hook.8", "ANNOTATIONS")
    known = re.findall(r'^\tAnnotation\w+ += "(.*)"', in_go("container/annotations.go"), re.MULTILINE)
    assert len(known) == 4
    for name in known:
        assert re.search(rf"^\.BI? {re.escape(name)}", annotations, re.MULTILINE), name
    (options,) = re.findall(r'optionsKnown = "the options are (.*)"', in_go("container/endpoint_text.go"))
    for option in re.findall(r"[a-z-]+(?==|$)", options):
        assert f" {option}" in annotations


def test_graft_transparent() -> None:
    usage = go_usage("graft-transparent")
    assert options_in(usage) <= options_in(section("graft-transparent.8", "OPTIONS"))
    verbs = re.findall(r"^  ([a-z]+) ", usage, re.MULTILINE)
    assert {"load", "unload", "status"} <= set(verbs)
    assert set(verbs) <= words(section("graft-transparent.8", "COMMANDS"))
    numbers = re.findall(r"^\t\w+ += (\d)$", in_go("cmd/graft-transparent/main.go"), re.MULTILINE)
    assert len(numbers) == 5
    assert set(numbers) <= words_or_numbers(section("graft-transparent.8", "EXIT STATUS"))


def words_or_numbers(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_graft_cni() -> None:
    source = in_go("cmd/graft-cni/config.go")
    found = re.search(r"ownKeys = \[\]string\{(.*?)\}", source)
    assert found is not None
    text = section("graft-cni.8", "CONFIGURATION")
    for key in re.findall(r'"(\w+)"', found[1]):
        assert f"\n.TP\n.B {key}\n" in text, key
    for name in re.findall(r'case "(GRAFT_\w+)"', source):
        assert f"\n.TP\n.BI {name}= " in text, name
    versions = re.search(r"PluginSupports\((.*?)\)", in_go("cmd/graft-cni/main.go"))
    assert versions is not None
    told = section("graft-cni.8", "DESCRIPTION")
    assert all(version in told for version in re.findall(r'"(.*?)"', versions[1]))
    assert {verb for verb in ("ADD", "CHECK", "DEL", "GC", "STATUS") if f"\n.B {verb}\n" not in told} == set()


def test_the_example_of_a_network_is_right() -> None:
    network = json.loads((EXAMPLES / "web.conflist").read_text())
    (plugin,) = network["plugins"]
    endpoints = [json_format.ParseDict(one, endpoint_pb2.Endpoint()) for one in plugin["endpoints"]]
    rules = [json_format.ParseDict(one, rule_pb2.Rule()) for one in plugin["rules"]]
    assert {rule.endpoint for rule in rules} == {endpoint.name for endpoint in endpoints}
    assert network["cniVersion"] in in_go("cmd/graft-cni/main.go")


# The configuration


def keys(table: Table, where: str) -> Iterator[tuple[str, str]]:
    for name, key in table.keys.items():
        if isinstance(key.kind, Table):
            inner = f"{where}{name}"
            yield from keys(key.kind, f"{inner}.")
            yield f"[[{inner}]]" if key.kind.many else f"[{inner}]", ""
        else:
            yield where, name


def test_every_key_of_the_configuration() -> None:
    text = section("graftd.toml.5", "TABLES AND KEYS")
    found = list(keys(Table(Config), ""))
    assert len(found) > 50
    for where, name in found:
        if not name:
            assert f".SS {where}\n" in text
            continue
        table = where.rstrip(".")
        begin = next(one for one in (f".SS [{table}]\n", f".SS [[{table}]]\n") if one in text)
        own = text.partition(begin)[2].partition("\n.SS ")[0]
        assert f"\n.TP\n{name}\n" in own, f"{table}: {name}"


def test_what_is_said_of_a_key() -> None:
    text = section("graftd.toml.5", "TABLES AND KEYS")
    of_path = text.partition("\n.TP\npath\n")[2].partition("\n.TP\n")[0]
    assert of_path == (
        "The database. Its folder has to be there and to be graftd's own.\nAn absolute path.\n.IP\n"
        'Default: "/var/lib/graftd/graftd.db". A change takes a restart.'
    )
    of_name = text.partition("\n.TP\nname\n")[2].partition("\n.TP\n")[0]
    assert "It has to be there." in of_name
    assert "\nDefault: 60.\n" in text


def test_the_example_of_a_configuration_is_right() -> None:
    config = Config.parse((EXAMPLES / "roles.toml").read_bytes(), "the example")
    assert [role.role.word for role in config.roles] == ["admin", "operator", "viewer"]
    assert config.policies[0].name == "web"
    assert 'groups = ["deploy"]' in section("graftd.toml.5", "EXAMPLES")


def test_the_example_of_a_namespace_is_right() -> None:
    pytest.importorskip("yaml")
    from graftcli.document import read

    (document,) = read((EXAMPLES / "web.yaml").read_text(), "web.yaml")
    assert document.request.name == "namespaces/web"
    assert len(document.request.endpoints.endpoints) == 2


# The page for programs


def of_c(pattern: str, *names: str) -> set[str]:
    """What is found in C files, outside of comments."""
    found: set[str] = set()
    for name in names:
        text = re.sub(r"/\*.*?\*/", "", (KMOD / name).read_text(), flags=re.DOTALL)
        found |= set(re.findall(pattern, text))
    return found


# What answers programs, not those who write tables or load the module.
CALLS = [path.name for path in KMOD.glob("*.c") if not path.name.startswith(("nl", "table", "event", "main", "family"))]
# Becomes ENOTTY in the kernel, or another answer of its own.
INTERNAL = {"ENOIOCTLCMD"}


def test_every_errno() -> None:
    found = of_c(r"-(E[A-Z]{3,})\b", *CALLS) - INTERNAL
    assert {"EADDRNOTAVAIL", "EPIPE", "EISCONN", "ENOPROTOOPT"} <= found
    assert found - tags(section("af_graft.7", "ERRORS").replace(".B ", "").replace(".BR ", "")) == set()


def test_every_reason() -> None:
    found = {one.word for one in Reason} - {"none", "no-rule"}  # with which nothing fails
    said = set(re.findall(r"^\.RB \( ([\w-]+) \)", section("af_graft.7", "ERRORS"), re.MULTILINE))
    assert said == found


def test_every_word_of_the_header() -> None:
    header = re.sub(
        r"/\*.*?\*/", "", (KMOD / "uapi/linux/graft.h").read_text().partition("/* Netlink. */")[0], flags=re.DOTALL
    )
    defined = set(re.findall(r"\b((?:GRAFT|AF|IPPROTO)_[A-Z_]+)\b", header))
    members = {
        name
        for body in re.findall(r"\nstruct \w+ \{(.*?)\n\};", header, re.DOTALL)
        for name in re.findall(r"(\w+)(?:\[\w+\])?;", body)
    }
    assert {"GRAFT_SO_RULES", "GRAFT_STATE_REVOKED", "AF_GRAFT", "IPPROTO_GRAFT"} <= defined
    assert {"sgr_epname", "prefixlen", "port_hi"} <= members
    assert (defined | members) - words(plain(PAGES["af_graft.7"])) == set()


def test_every_option_that_the_module_names() -> None:
    found = of_c(r"case ((?:(?:SO|TCP|UDP|IP|IPV6)_|SIOC)[A-Z0-9_]+):", "options.c")
    assert {"SO_MARK", "TCP_ULP", "UDP_SEGMENT", "IP_TOS", "IPV6_TCLASS", "SIOCATMARK"} <= found
    assert found - words(plain(PAGES["af_graft.7"])) == set()


def test_what_may_not_come_along() -> None:
    """Options that a sentence of the module names where it refuses a socket's state."""
    sentences = re.findall(r'return "(.*?)";', (KMOD / "inspect.c").read_text() + (KMOD / "reseat.c").read_text())
    found = {word for sentence in sentences for word in re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", sentence)}
    assert {"SO_TXTIME", "IP_TRANSPARENT", "IPV6_PKTINFO", "TCP_REPAIR", "UDP_ENCAP"} <= found
    assert found - words(section("af_graft.7", "ERRORS")) - words(section("af_graft.7", "SOCKET OPTIONS")) == set()


def test_its_limits_are_the_modules() -> None:
    text = " ".join(plain(PAGES["af_graft.7"]).split())
    placeholder = (KMOD / "placeholder.h").read_text()
    (most,), (size,) = (
        re.findall(rf"{name}\s+(\d+)", placeholder) for name in ("GRAFT_OPTIONS_MAX", "GRAFT_OPTION_SIZE")
    )
    assert f"at most {most} of them, of at most {size} bytes each" in text
    assert f"more than {most} options" in text
    assert f"longer than {size} bytes" in text
    versions = re.findall(r"KERNEL_VERSION\((\d+), (\d+), 0\)", (KMOD / "compat/compat.h").read_text())
    assert versions[:2] == [("6", "1"), ("7", "4")]
    assert "Kernels 6.1 to 7.3." in text


def test_the_example_compiles(tmp_path: Path) -> None:
    source = EXAMPLES / "af_graft.c"
    assert plain(PAGES["af_graft.7"]).replace("\n\\&", "\n").find(source.read_text().expandtabs(8).rstrip("\n")) > 0
    command = ["gcc", "-std=c11", "-D_DEFAULT_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-I", str(KMOD / "uapi")]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "echo"), str(source)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([str(tmp_path / "echo")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "echo: usage: echo server PORT | echo client ENDPOINT ADDRESS PORT TEXT\n",
    )


# How pages are made


def test_what_there_is_not_cannot_be_inserted() -> None:
    with pytest.raises(ValueError, match="wants 'nothing' inserted: there are graftd-options, "):
        page('.\\" insert nothing\n')
    with pytest.raises(ValueError, match=r"wants the example 'nothing\.c' included"):
        page('.\\" include nothing.c\n')


def test_every_insert_is_wanted() -> None:
    written = "".join(path.read_text() for path in (ROOT / "packaging/man").glob("*.[1-8]"))
    assert set(re.findall(r'\.\\" insert (\S+)', written)) == set(inserts.INSERTS)
    assert set(re.findall(r'\.\\" include (\S+)', written)) == {path.name for path in EXAMPLES.iterdir()}


def test_they_are_made_by_python_alone(tmp_path: Path) -> None:
    """As `make man` does in a package's build: without .venv, and the same each time."""
    paths = ":".join(str(ROOT / path) for path in ("packaging/man", "clients/cli", "."))
    subprocess.run([sys.executable, "-S", "-m", "graft_man", str(tmp_path)], env={"PYTHONPATH": paths}, check=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == PAGES
