# SPDX-License-Identifier: Apache-2.0
"""Every command and option there is, as data: parsing, help and completion are made from this.

It is imported by `graftcli --help`, so it imports next to nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """An option: with a value if it has a `metavar`."""

    name: str
    help: str
    metavar: str = ""
    short: str = ""
    many: bool = False
    choices: tuple[str, ...] = ()


class Command(NamedTuple):
    """A command.

    handler: the module below graftcli, and the function in it; "" where main has it.
    arguments: what follows, in brackets where it may be left out, with ... where it may be several.
    """

    name: str
    group: str
    summary: str
    handler: str
    arguments: str = ""
    options: tuple[Option, ...] = ()
    notes: str = ""


OUTPUTS = ("table", "wide", "json", "yaml", "name")

GLOBAL = (
    Option("namespace", "the namespace that is meant; otherwise that of GRAFT_NAMESPACE", "NAME", "n"),
    Option("all-namespaces", "every namespace that you may see", short="A"),
    Option("output", "table, wide, json, yaml or name", "FORM", "o", choices=OUTPUTS),
    Option("target", "where graftd is, unix:PATH or HOST:PORT; otherwise GRAFTD_TARGET", "TARGET"),
    Option("tls-ca", "over TCP: the authority's certificate; otherwise GRAFTD_TLS_CA", "FILE"),
    Option("tls-cert", "over TCP: your certificate; otherwise GRAFTD_TLS_CERT", "FILE"),
    Option("tls-key", "over TCP: your key; otherwise GRAFTD_TLS_KEY", "FILE"),
    Option("tls-name", "over TCP: the name in graftd's certificate, if not the host's", "NAME"),
    Option("timeout", "what one call may take, in seconds", "SECONDS"),
    Option("dry-run", "check and tell what would be done, and do nothing"),
    Option("yes", "do not ask", short="y"),
    Option("color", "auto, always or never", "WHEN", choices=("auto", "always", "never")),
    Option("help", "tell about the command", short="h"),
    Option("version", "tell graftcli's version", short="V"),
)

_LABEL = Option("label", "a label; several times for several", "KEY=VALUE", "l", many=True)
_ONLY_LABEL = Option("label", "only those with this label; several times for several", "KEY=VALUE", "l", many=True)
_NO_LABEL = Option("no-label", "take a label away", "KEY", many=True)
_ABORT = Option("abort-sockets", "end the live sockets that lose their grant; otherwise they go on")
_MISSING = Option("allow-missing", "it is no failure that there is none")
_ETAG = Option("etag", "only if nobody changed it since it had this etag", "ETAG")

_SELECTOR = (
    Option("netns", "the namespace that `ip netns` calls so", "NAME"),
    Option("path", "the namespace of this file", "PATH"),
    Option("pid", "the namespace that this process is in now", "PID"),
    Option("container", "the namespace of the container with this id", "ID"),
    Option("unit", "the namespace of this systemd unit's main process", "UNIT"),
)
_LIMITS = (
    Option("max-sockets", "live grafted sockets at most", "N"),
    Option("max-ephemeral", "of them, those whose port the kernel chose", "N"),
    Option("max-endpoints", "endpoints at most", "N"),
)
_NAMESPACE = (
    *_SELECTOR,
    *_LIMITS,
    _LABEL,
    Option("annotation", "a note for programs", "KEY=VALUE", many=True),
    Option("transparent", "its programs need no preload: sockets come through the BPF door, where it is served"),
)
_TRANSIENT = Option("transient", "it goes, with all that it holds, when its network namespace does; never changed")
_ENDPOINT = (
    Option("type", "ipv4, ipv6 or unix; told by the address if left out", "TYPE", choices=("ipv4", "ipv6", "unix")),
    Option("address", "the host's address", "ADDRESS"),
    Option("port", "N, LO-HI of which the program asks for one, or any: the kernel chooses", "PORT"),
    Option("protocol", "tcp, udp or both", "PROTOCOL", choices=("tcp", "udp", "both")),
    Option("path", "of type unix: the abstract name", "@NAME"),
    Option("target-namespace", "the namespace in which its sockets live; otherwise graftd's", "NAME"),
    Option("mark", "SO_MARK of its sockets", "MARK"),
    Option("device", "the device that its sockets are bound to", "DEVICE"),
    Option("max-sockets", "live sockets at most", "N"),
    Option("privileged", "serve also who could configure the target's network"),
    _LABEL,
)
_PROTOCOL = Option("protocol", "tcp, udp or both", "PROTOCOL", choices=("tcp", "udp", "both"))
_RULE = (
    Option("network", "the address of a bind or the destination: a prefix, or all", "PREFIX"),
    _PROTOCOL,
    Option("port", "N, LO-HI, or any: a bind that lets the kernel choose; every port if left out", "PORT"),
    Option("endpoint", "graft through this endpoint", "NAME"),
    Option("native", "leave it an ordinary socket"),
    Option("deny", "refuse it"),
)
_ACL = (
    Option("allow", "allow what matches"),
    Option("deny", "refuse what matches"),
    Option("endpoint", "through this endpoint; every one if left out", "NAME"),
    Option("verb", "listen, connect or both", "VERB", choices=("listen", "connect", "both")),
    Option("uid", "a user, N or LO-HI", "UID"),
    Option("gid", "a group, N or LO-HI", "GID"),
    Option("own-ids", "ids are those of the container"),
    Option("network", "the destination: a prefix, or all", "PREFIX"),
    Option("port", "the destination's port, N or LO-HI", "PORT"),
    _PROTOCOL,
    Option("local", "reach the target's own addresses as well"),
)
_FILE = Option("file", "a file, or - for standard input; several times for several", "FILE", "f", many=True)
_EVERYTHING = Option("all", "all namespaces: the whole node")

COMMANDS = (
    Command(
        "list-namespaces",
        "Namespaces",
        "list the namespaces whose tables graftd owns",
        "namespaces:listed",
        options=(_ONLY_LABEL, Option("absent", "only those that are not there now")),
    ),
    Command("add-namespace", "Namespaces", "register a namespace", "namespaces:add", "NAME", (*_NAMESPACE, _TRANSIENT)),
    Command("show-namespace", "Namespaces", "tell all about one", "namespaces:show", "NAME"),
    Command(
        "update-namespace",
        "Namespaces",
        "change its selector, limits, labels, annotations or transparency",
        "namespaces:update",
        "NAME",
        (
            *_NAMESPACE,
            Option("no-transparent", "its sockets do not come through the BPF door any more"),
            _NO_LABEL,
            Option("no-annotation", "take an annotation away", "KEY", many=True),
        ),
    ),
    Command(
        "delete-namespace",
        "Namespaces",
        "forget one and empty its table",
        "namespaces:delete",
        "NAME",
        (Option("force", "with its endpoints, rules and ACL rules"), _ABORT, _MISSING, _ETAG),
    ),
    Command(
        "import",
        "Namespaces",
        "register a namespace and take over the table that it has in the kernel",
        "namespaces:adopt",
        "NAME",
        (*_NAMESPACE, _TRANSIENT),
        "list-tables shows what there is to take over.",
    ),
    Command(
        "list-endpoints",
        "Endpoints",
        "list endpoints",
        "endpoints:listed",
        options=(_ONLY_LABEL, Option("counters", "ask the kernel for its counts as well")),
    ),
    Command("add-endpoint", "Endpoints", "make an endpoint", "endpoints:add", "NAME", _ENDPOINT),
    Command("show-endpoint", "Endpoints", "tell all about one", "endpoints:show", "NAME"),
    Command(
        "update-endpoint",
        "Endpoints",
        "change what is said, and nothing else",
        "endpoints:update",
        "NAME",
        (
            *_ENDPOINT,
            Option("no-privileged", "serve nobody who could configure the target's network"),
            _NO_LABEL,
            _ABORT,
        ),
    ),
    Command("delete-endpoint", "Endpoints", "delete one", "endpoints:delete", "NAME", (_ABORT, _MISSING, _ETAG)),
    Command(
        "list-rules",
        "Rules",
        "list ingress and egress rules",
        "rules:listed",
        options=(
            Option("direction", "only ingress or egress", "DIRECTION", choices=("ingress", "egress")),
            Option("endpoint", "only those that name this endpoint", "NAME"),
        ),
    ),
    Command(
        "add-rule",
        "Rules",
        "make a rule",
        "rules:add",
        "[ID]",
        (Option("direction", "ingress or egress", "DIRECTION", choices=("ingress", "egress")), *_RULE),
        "Ingress rules decide at bind, egress rules at connect. The longest prefix wins, then the narrower ports.",
    ),
    Command("show-rule", "Rules", "tell all about one", "rules:show", "ID"),
    Command("update-rule", "Rules", "change what is said, and nothing else", "rules:update", "ID", _RULE),
    Command("delete-rule", "Rules", "delete one", "rules:delete", "ID", (_MISSING, _ETAG)),
    Command(
        "list-acl-rules",
        "ACL rules",
        "list ACL rules, in their order",
        "acl:listed",
        options=(Option("endpoint", "only those that concern this endpoint", "NAME"),),
    ),
    Command(
        "add-acl-rule",
        "ACL rules",
        "make an ACL rule",
        "acl:add",
        "[ID]",
        (*_ACL, Option("index", "its place, counted from 1; the end if left out", "N"), _ABORT),
        "The first rule that matches decides. An endpoint that some allow rule covers is closed to all others.",
    ),
    Command("show-acl-rule", "ACL rules", "tell all about one", "acl:show", "ID"),
    Command(
        "update-acl-rule",
        "ACL rules",
        "change what is said, and nothing else",
        "acl:update",
        "ID",
        (
            *_ACL,
            Option("no-own-ids", "ids are the host's"),
            Option("no-local", "not the target's own addresses"),
            _ABORT,
        ),
    ),
    Command(
        "move-acl-rule",
        "ACL rules",
        "give one another place",
        "acl:move",
        "ID",
        (Option("index", "its place, counted from 1; the end if left out", "N"), _ABORT, _ETAG),
    ),
    Command("delete-acl-rule", "ACL rules", "delete one", "acl:delete", "ID", (_ABORT, _MISSING, _ETAG)),
    Command(
        "list-sockets",
        "Sockets",
        "list live grafted sockets",
        "sockets:listed",
        options=(Option("endpoint", "only those of this endpoint", "NAME"),),
    ),
    Command(
        "abort-sockets",
        "Sockets",
        "end live grafted sockets",
        "sockets:abort",
        "[COOKIE]...",
        (Option("endpoint", "all of this endpoint", "NAME"), Option("all", "all of the namespace")),
        "They can neither send nor receive from then on. Their endpoints stay.",
    ),
    Command(
        "watch",
        "Sockets",
        "print changes as they happen",
        "watching:watch",
        options=(
            Option(
                "type",
                "only namespace, endpoint, rule or acl-rule; several times for several",
                "TYPE",
                many=True,
                choices=("namespace", "endpoint", "rule", "acl-rule"),
            ),
            Option("after", "begin after this revision", "REVISION"),
            Option("initial", "begin with everything that there is"),
            Option("sockets", "instead, what becomes of sockets: grafts, natives, denials"),
            Option("endpoint", "with --sockets: only those of this endpoint", "NAME"),
            Option("recent", "with --sockets: begin with so many of the past, at most 1024", "N"),
            Option("node", "instead, what happens to the node: drift repaired, module and namespaces come and go"),
        ),
        notes="It goes on where it was when graftd restarts. With -o json, each line is an object.",
    ),
    Command(
        "apply",
        "Whole namespaces",
        "make namespaces as files say, all or nothing for each",
        "transfer:apply",
        options=(_FILE, _ABORT),
        notes="What a file does not mention (endpoints, rules, acl) stays as it is; `endpoints: []` means none.",
    ),
    Command(
        "diff",
        "Whole namespaces",
        "tell what apply would do; status 7 if anything",
        "transfer:diff",
        options=(_FILE,),
    ),
    Command(
        "export",
        "Whole namespaces",
        "print namespaces in the form that apply reads",
        "transfer:export",
        "[NAME]...",
        notes="Without a name, and without -n, all of them.",
    ),
    Command(
        "freeze",
        "The node",
        "deny new grafts, in one namespace or everywhere",
        "node:freeze",
        "[NAMESPACE]",
        (Option("reason", "why, for others to read", "TEXT"), _EVERYTHING),
        "What is grafted goes on.",
    ),
    Command("unfreeze", "The node", "end a freeze", "node:unfreeze", "[NAMESPACE]", (_EVERYTHING,)),
    Command("status", "The node", "tell how graftd, its store and the kernel stand", "node:status"),
    Command("reconcile", "The node", "make the kernel equal to the store now", "node:reconcile"),
    Command(
        "list-tables",
        "The node",
        "list the tables in the kernel",
        "node:tables",
        options=(Option("unregistered", "only those of namespaces that are not registered"),),
    ),
    Command(
        "backup",
        "The node",
        "write a copy of the store",
        "backup:backup",
        "FILE",
        (Option("force", "replace a file that is there"),),
    ),
    Command("restore", "The node", "replace the store by such a copy", "backup:restore", "FILE"),
    Command(
        "doctor",
        "Help",
        "find out why something is not grafted, and what to do",
        "doctor:run",
        "[NAMESPACE]",
        (Option("pid", "look at this process as well", "PID"), Option("json", "as -o json")),
    ),
    Command(
        "completion",
        "Help",
        "print what makes a shell complete these commands",
        "",
        "SHELL",
        notes="SHELL is bash, zsh or fish: source <(graftcli completion bash)",
    ),
    Command("version", "Help", "tell graftcli's version, and graftd's", "node:version"),
    Command("help", "Help", "tell about a command", "", "[COMMAND]"),
    Command(
        "add",
        "As ip-graft has it",
        "make an endpoint",
        "published:add",
        "NAME [WORD]...",
        notes="""\
graftcli -n NAMESPACE add NAME type { ipv4 | ipv6 } addr ADDR port { N | LO-HI | any }
    [ proto { tcp | udp | both } ] [ netns TARGET ] [ mark M ] [ dev DEVICE ] [ max-sockets N ] [ privileged ]
graftcli -n NAMESPACE add NAME type unix path @NAME [ netns TARGET ]
netns is the namespace in which its sockets live, by the name that graftd has for it.""",
    ),
    Command(
        "change",
        "As ip-graft has it",
        "define an endpoint anew",
        "published:change",
        "NAME [WORD]...",
        notes="As add; with `abort` its live sockets are ended.",
    ),
    Command(
        "replace",
        "As ip-graft has it",
        "make an endpoint or define it anew",
        "published:replace",
        "NAME [WORD]...",
        notes="As add; with `abort` its live sockets are ended.",
    ),
    Command("del", "As ip-graft has it", "delete an endpoint", "published:delete", "NAME [abort]"),
    Command("show", "As ip-graft has it", "print endpoints as words", "published:show", "[NAME]"),
)

ALIASES = {"list": "show", "lst": "show", "delete": "del"}
