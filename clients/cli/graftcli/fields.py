# SPDX-License-Identifier: Apache-2.0
"""Words of people to fields of messages."""

from __future__ import annotations

from collections.abc import Sequence

from graft_client import messages as m
from graftcli.cmdline import Args, UsageError, either
from graftcli.forms import path_bytes
from ip_graft import values

U32 = 2**32 - 1


def ports(word: str) -> m.PortRange:
    """N, LO-HI or any."""
    found = values.ports(word)
    return m.PortRange(low=found.low, high=found.high)


def destination_ports(word: str) -> m.PortRange:
    """N or LO-HI."""
    found = values.destination_ports(word)
    return m.PortRange(low=found.low, high=found.high)


def ids(word: str, what: str) -> m.IdRange:
    found = values.ids(word, what)
    return m.IdRange(low=found.low, high=found.high)


def protocols(words: Sequence[str]) -> list[m.Protocol]:
    """Both are none: so says the contract."""
    bits = int(values.protocols(",".join(words)))
    return [one for one in (m.PROTOCOL_TCP, m.PROTOCOL_UDP) if one == bits]


def verbs(words: Sequence[str]) -> list[m.Verb]:
    """As protocols."""
    bits = int(values.verbs(",".join(words)))
    return [one for one in (m.VERB_LISTEN, m.VERB_CONNECT) if one == bits]


def network(word: str) -> str:
    """A prefix in full; "" for all."""
    found = values.network(word)
    return "" if found is None else str(found)


def path(word: str) -> bytes:
    if not word.startswith("@"):
        raise UsageError(f"'{word}' is no abstract name: write '@{word}', for only abstract names can be grafted")
    return path_bytes(word[1:])


def namespace_id(word: str) -> str:
    """Of a target namespace: the resource name; "" for graftd's own."""
    return word if not word or word.startswith("namespaces/") else f"namespaces/{word}"


def pair(word: str, option: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UsageError(f"'{word}' is no value of --{option}: expected KEY=VALUE")
    return key, value


def pairs(args: Args, option: str) -> dict[str, str]:
    return dict(pair(word, option) for word in args.many(option))


def whole(args: Args, option: str, highest: int = U32) -> int | None:
    """A number; None where it was not given."""
    word = args.text(option)
    return None if word is None else values.number(word, f"value of --{option}", highest)


def one_of(args: Args, *names: str) -> str | None:
    """The option of these that was given; None for none."""
    given = [name for name in names if name in args]
    if len(given) > 1:
        raise UsageError(f"'--{given[0]}' and '--{given[1]}' exclude one another: say one of them")
    return given[0] if given else None


def needed(args: Args, *names: str) -> str:
    """The same where one of them has to be."""
    found = one_of(args, *names)
    if found is None:
        raise UsageError(f"something is missing: say {either([f'--{one}' for one in names])}")
    return found
