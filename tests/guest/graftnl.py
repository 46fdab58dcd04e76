# SPDX-License-Identifier: Apache-2.0
"""The family "graft" over a bare netlink socket: cheap, and able to send what is malformed.

Messages are dictionaries whose keys are the attribute's names of the uapi header in lower case:
``{"endpoint": {"name": "ep-http", "type": U.EP_IPV4, "address": bytes, "target_fd": 5}}``.
"""

import struct
from typing import Any

from netlink import CREATE, DUMP, NESTED, Netlink, attr, attrs
from uapi import U

_GENERIC, _CONTROLLER, _GETFAMILY = 16, 16, 3

# B, H, I, Q: unsigned numbers; z: string; r: bytes; f: flag; *SPACE: a nest; +SPACE: nests, repeated; c: counters.
_FORMATS = {
    "A": "netns_fd:I netns_cookie:Q generation:Q info:*INFO_A claimant:z claimant_pid:I table:*TABLE_A endpoint:*EP_A"
    " rule:+RULE_A acl:+ACL_A socket:*SOCK_A event:*EVENT_A abort:f aborted:I",
    "INFO_A": "version:z family:I ipv6:f sol_socket:f",
    "TABLE_A": "max_sockets:I max_ephemeral:I max_endpoints:I frozen:B endpoints:I rules:I acls:I sockets:I"
    " ephemeral:I owner_cookie:Q",
    "EP_A": "name:z type:B address:r path:r port_lo:H port_hi:H protocols:B target_fd:I target_cookie:Q mark:I device:z"
    " max_sockets:I privileged:f active:Q binds:Q connects:Q accepts:Q denials:c",
    "RULE_A": "direction:B address:r prefixlen:B protocols:B port_lo:H port_hi:H verdict:B endpoint:z",
    "ACL_A": "allow:B endpoint:z verbs:B uid_lo:I uid_hi:I gid_lo:I gid_hi:I own_ids:f address:r prefixlen:B port_lo:H"
    " port_hi:H protocols:B local:f",
    "SOCK_A": "cookie:Q inode:Q endpoint:z family:H type:H protocol:H state:B uid:I cgroup_id:Q target_cookie:Q"
    " local_address:r local_port:H remote_address:r remote_port:H door:B verb:B",
    "EVENT_A": "kind:B reason:B errno:I detail:z cookie:Q endpoint:z verb:B uid:I pid:I protocol:H address:r port:H",
}
_BY_NAME = {
    space: {
        name: (getattr(U, f"{space}_{name.upper()}"), form)
        for name, form in (field.split(":") for field in fields.split())
    }
    for space, fields in _FORMATS.items()
}
_BY_NUMBER = {
    space: {number: (name, form) for name, (number, form) in fields.items()} for space, fields in _BY_NAME.items()
}


def encode(fields: dict[str, Any], space: str = "A") -> bytes:
    """The attributes of a message; a value of None is left out."""
    out = []
    for name, value in fields.items():
        number, form = _BY_NAME[space][name]
        if value is None or (form == "f" and not value):
            continue
        kind = number | (NESTED if form[0] in "*+" else 0)
        out += [attr(kind, _payload(form, item)) for item in (value if form[0] == "+" else [value])]
    return b"".join(out)


def _payload(form: str, value: Any) -> bytes:
    if form[0] in "*+":
        return encode(value, form[1:])
    if form == "z":
        return (value.encode() if isinstance(value, str) else value) + b"\0"
    if form == "f":
        return b""
    return value if form == "r" else struct.pack(f"={form}", value)


def decode(data: bytes, space: str = "A") -> dict[str, Any]:
    """The inverse of encode; repeated nests become lists."""
    found: dict[str, Any] = {}
    for number, payload in attrs(data):
        name, form = _BY_NUMBER[space].get(number, (str(number), "r"))
        if form[0] == "+":
            found.setdefault(name, []).append(decode(payload, form[1:]))
        else:
            found[name] = _value(form, payload)
    return found


def _value(form: str, payload: bytes) -> Any:
    if form[0] == "*":
        return decode(payload, form[1:])
    if form == "c":
        return {kind: struct.unpack("=Q", count)[0] for kind, count in attrs(payload)}
    if form == "z":
        return payload.split(b"\0")[0].decode()
    if form == "f":
        return True
    return payload if form == "r" else struct.unpack(f"={form}", payload)[0]


class Graft(Netlink):
    """A socket of the family "graft" in the current network namespace."""

    def __init__(self) -> None:
        super().__init__(_GENERIC)
        request = struct.pack("=BBH", _GETFAMILY, 1, 0) + attr(2, b"graft\0")
        family = dict(attrs(self.ask(_CONTROLLER, request)[0][4:]))
        self.family = struct.unpack("=H", family[1])[0]
        groups = (dict(attrs(group)) for _, group in attrs(family[7]))
        self.groups = {group[1].rstrip(b"\0").decode(): struct.unpack("=I", group[2])[0] for group in groups}

    def raw(self, command: int, payload: bytes, flags: int = 0) -> list[dict[str, Any]]:
        """Send ``payload`` as it is."""
        header = struct.pack("=BBH", command, 1, 0)
        return [decode(answer[4:]) for answer in self.ask(self.family, header + payload, flags)]

    def call(self, command: int, flags: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Send a request; return its answers."""
        return self.raw(command, encode(fields), flags)

    def dump(self, command: int, **fields: Any) -> list[dict[str, Any]]:
        """Dump; ``self.interrupted`` tells whether the table changed meanwhile."""
        return self.call(command, DUMP, **fields)

    def endpoint(self, netns: int, flags: int = CREATE, **fields: Any) -> None:
        """ENDPOINT_NEW in the table of the namespace whose descriptor is ``netns``."""
        self.call(U.CMD_ENDPOINT_NEW, flags, netns_fd=netns, endpoint=fields)

    def subscribe(self, group: str) -> None:
        """Receive a group's notifications on this socket."""
        self.sock.setsockopt(270, 1, self.groups[group])

    def notices(self) -> list[tuple[int, dict[str, Any]]]:
        """Whatever notifications have arrived: command, message."""
        found: list[tuple[int, dict[str, Any]]] = []
        while True:
            try:
                data = self.sock.recv(1 << 18, 0x40)
            except BlockingIOError:
                return found
            found += [(payload[0], decode(payload[4:])) for _, _, payload in self.messages(data)]
