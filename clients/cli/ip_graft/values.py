# SPDX-License-Identifier: Apache-2.0
"""Values as people write them, and back."""

import ipaddress
import re
import shlex
from collections.abc import Sequence

from graftd.model import Address, IdRange, Network, PortRange, Protocols, Verbs
from ip_graft.words import UsageError, build, match

ANY_PORT = ("any", "dynamic")

# int() takes more: other scripts' digits, signs, blanks.
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_DECIMAL = re.compile(r"[0-9]+")
# More than any number here has; int() refuses thousands.
_DIGITS_MAX = 30


def number(word: str, what: str, highest: int = 2**32 - 1) -> int:
    """Decimal, or hexadecimal after 0x."""
    value = -1
    if _NUMBER.fullmatch(word) and len(word) <= _DIGITS_MAX:
        value = int(word, 16 if word[:2].lower() == "0x" else 10)
    if not 0 <= value <= highest:
        raise UsageError(f"'{word}' is no {what}: expected a number from 0 to {highest}")
    return value


def _range(word: str, what: str, highest: int) -> tuple[int, int]:
    low, dash, high = word.partition("-")
    if not _DECIMAL.fullmatch(low) or (dash and not _DECIMAL.fullmatch(high)):
        raise UsageError(f"'{word}' is no {what}: expected a number, or two as in 8000-8010")
    high = high or low
    if max(len(low), len(high)) > _DIGITS_MAX or max(int(low), int(high)) > highest:
        raise UsageError(f"'{word}' is no {what}: it goes up to {highest}")
    return int(low), int(high)


def ports(word: str) -> PortRange:
    """N, LO-HI, or any."""
    if word in ANY_PORT:
        return PortRange.ANY
    return build(PortRange, *_range(word, "port", 65535))


def destination_ports(word: str) -> PortRange:
    """N or LO-HI: a destination has no port 0."""
    found = ports(word)
    if found.low == 0:
        raise UsageError(f"'{word}' is no port of a destination, which is never 0: leave 'port' out for every port")
    return found


def ports_text(value: PortRange) -> str:
    if value == PortRange.ANY:
        return "any"
    return str(value.low) if value.low == value.high else f"{value.low}-{value.high}"


def ids(word: str, what: str) -> IdRange:
    return build(IdRange, *_range(word, what, 2**32 - 1))


def ids_text(value: IdRange) -> str:
    return str(value.low) if value.low == value.high else f"{value.low}-{value.high}"


def _flags(word: str, names: Sequence[str], what: str) -> int:
    bits = 0
    for part in word.split(","):
        name = match(part, (*names, "both"), what)
        bits |= 3 if name == "both" else 1 << names.index(name)
    return bits


def protocols(word: str) -> Protocols:
    return Protocols(_flags(word, ("tcp", "udp"), "protocol"))


def verbs(word: str) -> Verbs:
    return Verbs(_flags(word, ("listen", "connect"), "verb"))


def address(word: str) -> Address:
    try:
        found = ipaddress.ip_address(word)
    except ValueError:
        raise UsageError(f"'{word}' is no address: expected one as in 10.0.0.2 or fd00::2") from None
    bare, percent, device = word.partition("%")
    if percent:
        raise UsageError(f"'{word}' names a device, which an endpoint has apart: write addr {bare} dev {device}")
    return found


def network(word: str) -> Network | None:
    """A prefix; `all` is every address of both families."""
    if word == "all":
        return None
    try:
        found = ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise UsageError(f"'{word}' is no prefix: expected one as in 10.0.0.0/8, fd00::/8, 10.0.0.2 or all") from None
    if "%" in word:
        raise UsageError(f"'{word}' names a device, which a prefix cannot: leave the part from '%' out")
    if ipaddress.ip_interface(word).ip != found.network_address:
        raise UsageError(f"'{word}' has bits set beyond its prefix: {found} would be right")
    return found


def network_text(value: Network) -> str:
    return str(value.network_address) if value.prefixlen == value.max_prefixlen else str(value)


def safe(word: str) -> str:
    """As one word of a line: quoted where a shell would split it, escaped where a terminal would
    obey it. `listing` reads either."""
    if not word.isprintable():
        return "".join(one if one.isprintable() and one not in _QUOTED else _escaped(one) for one in word)
    return shlex.quote(word) if set(word) & _QUOTED else word


_QUOTED = set(" '\"\\#")


def safe_sentence(words: str) -> str:
    return "".join(one if one.isprintable() else _escaped(one) for one in words)


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def socket_address(host: Address | None, port: int) -> str:
    if host is None:
        return "-"
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
