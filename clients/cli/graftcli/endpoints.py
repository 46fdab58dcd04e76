# SPDX-License-Identifier: Apache-2.0
"""list-, add-, show-, update-, delete-endpoint"""

from __future__ import annotations

from graft_client import messages as m
from graftcli import exits, fields, text
from graftcli.cmdline import Args, UsageError
from graftcli.columns import of_one
from graftcli.namespaces import merge
from graftcli.output import Column
from graftcli.session import Session, last, middle
from ip_graft import values

_INET = ("address", "port", "protocol", "mark", "device")


def _address(one: m.Endpoint) -> str:
    return text.path(one) if one.WhichOneof("kind") == "unix" else one.inet.address


def _inet(one: m.Endpoint, value: str) -> str:
    return value if one.WhichOneof("kind") == "inet" else ""


COLUMNS: list[Column[m.Endpoint]] = [
    Column("NAMESPACE", lambda one: middle(one.name)),
    Column("NAME", lambda one: last(one.name)),
    Column("TYPE", text.endpoint_type),
    Column("ADDRESS", _address),
    Column("PORT", lambda one: _inet(one, text.ports(one.inet.ports))),
    Column("PROTO", lambda one: _inet(one, text.set_words(one.inet, "protocols", "tcp,udp"))),
    Column("TARGET", lambda one: last(one.target_namespace)),
    Column("SYNC", lambda one: text.sync(one.sync)),
    Column("MARK", lambda one: f"0x{one.inet.mark:x}" if one.inet.mark else "", wide=True),
    Column("DEVICE", lambda one: one.inet.device, wide=True),
    Column("MAX-SOCKETS", lambda one: str(one.max_sockets or ""), wide=True),
    Column("PRIVILEGED", lambda one: "yes" if one.privileged else "", wide=True),
    Column("LABELS", text.labels, wide=True),
    Column("REVISION", lambda one: str(one.revision), wide=True),
]
_COUNTERS: Column[m.Endpoint] = Column(
    "COUNTERS", lambda one: text.counters(one.counters) if one.HasField("counters") else ""
)
_ALL = of_one(COLUMNS, [_COUNTERS])


def listed(session: Session, args: Args) -> int:
    counters = "counters" in args
    found = session.client.endpoints(session.parent(), labels=fields.pairs(args, "label"), full=counters)
    session.show(found, [*COLUMNS, _COUNTERS] if counters else COLUMNS)
    return exits.DONE


def show(session: Session, args: Args) -> int:
    session.tell(session.client.get_endpoint(session.resource("endpoints", args.words[0])), _ALL)
    return exits.DONE


def _read(args: Args) -> tuple[m.Endpoint, list[str]]:
    """What the options say, and which fields they are about."""
    found, mask = m.Endpoint(), []
    inet = [name for name in _INET if name in args]
    if "path" in args:
        if inet:
            raise UsageError(f"an endpoint of type unix has no '--{inet[0]}': leave it out")
        found.unix.path = fields.path(args.text("path") or "")
        mask.append("unix")
    mask += [_read_inet(found.inet, name, args.text(name) or "") for name in inet]
    if (target := args.text("target-namespace")) is not None:
        found.target_namespace = fields.namespace_id(target)
        mask.append("target_namespace")
    if (limit := fields.whole(args, "max-sockets")) is not None:
        found.max_sockets = limit
        mask.append("max_sockets")
    if said := fields.one_of(args, "privileged", "no-privileged"):
        found.privileged = said == "privileged"
        mask.append("privileged")
    found.labels.update(fields.pairs(args, "label"))
    return found, mask


def _read_inet(inet: m.InetTarget, name: str, word: str) -> str:
    """Set one field; its path in a mask."""
    match name:
        case "address":
            inet.address = str(values.address(word))
        case "port":
            inet.ports.CopyFrom(fields.ports(word))
            return "inet.ports"
        case "protocol":
            inet.protocols.extend(fields.protocols([word]))
            return "inet.protocols"
        case "mark":
            inet.mark = values.number(word, "mark")
        case _:
            inet.device = word
    return f"inet.{name}"


def check_type(endpoint: m.Endpoint, kind: str | None) -> None:
    """Refuse a type that the address is not of. One that is not said may be of either family."""
    if kind in (None, text.endpoint_type(endpoint)):
        return
    if kind == "unix" or endpoint.HasField("unix") or endpoint.inet.address:
        what = f"path @{endpoint.unix.path.decode(errors='replace')}" if endpoint.unix.path else endpoint.inet.address
        raise UsageError(
            f"'{what or 'the address'}' is not of type {kind}: leave the type out, for the address tells it"
        )


def _check_complete(endpoint: m.Endpoint) -> None:
    """Refuse an endpoint without its address or port."""
    if endpoint.WhichOneof("kind") == "unix":
        return
    if not endpoint.inet.address:
        raise UsageError("the address is missing: say --address 10.0.0.2, or --path @NAME of an abstract unix name")
    if not endpoint.inet.HasField("ports"):
        raise UsageError("the port is missing: say --port 80, --port any or --port 8000-8010")


def add(session: Session, args: Args) -> int:
    wanted, _ = _read(args)
    _check_complete(wanted)
    check_type(wanted, args.text("type"))
    name = session.resource("endpoints", args.words[0])
    made = session.client.create_endpoint(
        f"namespaces/{middle(name)}", last(name), wanted, validate_only=session.dry_run
    )
    session.changed("created", made)
    return exits.DONE


def update(session: Session, args: Args) -> int:
    wanted, mask = _read(args)
    wanted.name = session.resource("endpoints", args.words[0])
    check_type(wanted, args.text("type"))
    if "label" in args or "no-label" in args:
        present = session.client.get_endpoint(wanted.name)
        wanted.etag = present.etag
        merge(wanted.labels, present.labels, args.many("no-label"))
        mask.append("labels")
    if not mask:
        raise UsageError("nothing is to be changed: say what, as in --port 8080")
    made = session.client.update_endpoint(
        wanted,
        mask,
        abort_sockets="abort-sockets" in args,
        on_aborted=session.aborted,
        validate_only=session.dry_run,
    )
    session.changed("updated", made)
    return exits.DONE


def delete(session: Session, args: Args) -> int:
    name = session.resource("endpoints", args.words[0])
    answer = session.client.delete_endpoint(
        name,
        etag=args.text("etag") or "",
        allow_missing="allow-missing" in args,
        abort_sockets="abort-sockets" in args,
        validate_only=session.dry_run,
    )
    session.done(f"{name} deleted")
    session.aborted(answer.aborted_sockets)
    return exits.DONE
