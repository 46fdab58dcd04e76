# SPDX-License-Identifier: Apache-2.0
"""ip-graft table | freeze | unfreeze"""

from typing import Any

from graftd.model import Table, TableSettings
from ip_graft import values
from ip_graft.session import Session
from ip_graft.words import UsageError, Words, build

USAGE = """\
Usage: ip-graft table show [ all ]
       ip-graft table set [ max-sockets N ] [ max-ephemeral N ] [ max-endpoints N ]
       ip-graft { freeze | unfreeze }

max-sockets limits the live grafted sockets of a namespace, max-ephemeral those of them whose port
the kernel chose, max-endpoints the table itself. A frozen table grants nothing new; what is
grafted goes on. show all lists every table that is written from this namespace.
"""

_VERBS = ("show", "set")
_ALIASES = {"list": "show", "lst": "show"}
_LIMITS = ("max-sockets", "max-ephemeral", "max-endpoints")


def run(session: Session, words: Words) -> None:
    verb = words.keyword(_VERBS, "verb", _ALIASES) if words else "show"
    if verb == "show":
        _show(session, words)
    else:
        _set(session, words)


def freeze(session: Session, words: Words, *, frozen: bool) -> None:
    words.end()
    session.client().set_table(TableSettings(frozen=frozen), session.table_fd())


def _show(session: Session, words: Words) -> None:
    everything = bool(words) and words.keyword(("all",), "keyword") == "all"
    words.end()
    client = session.client()
    tables = client.tables() if everything else [client.table(session.table_fd())]
    if session.options.json:
        session.show([as_json(session, table) for table in tables], ())
    else:
        session.show([], (text(session, table) for table in tables))


def _set(session: Session, words: Words) -> None:
    given: dict[str, Any] = {}
    while words:
        keyword = words.keyword(_LIMITS, "limit")
        name = keyword.replace("-", "_")
        if name in given:
            raise UsageError(f"'{keyword}' is said twice: once is enough")
        given[name] = values.number(words.value(f"the value of '{keyword}'"), "limit")
    if not given:
        raise UsageError("no limit is named: say max-sockets, max-ephemeral or max-endpoints")
    session.client().set_table(build(TableSettings, **given), session.table_fd())


def text(session: Session, table: Table) -> str:
    words = [
        f"netns {values.safe(session.namespace_text(table.netns_cookie))}",
        f"endpoints {table.endpoints}/{table.max_endpoints}",
        f"sockets {table.sockets}/{table.max_sockets}",
        f"ephemeral {table.ephemeral}/{table.max_ephemeral}",
        f"rules {table.rules} acl {table.acls} generation {table.generation}",
    ]
    if table.owner_cookie:
        words.append(f"owner {values.safe(session.namespace_text(table.owner_cookie))}")
    if table.frozen:
        words.append("frozen")
    return " ".join(words)


def as_json(session: Session, table: Table) -> dict[str, Any]:
    return {
        "netns_cookie": table.netns_cookie,
        "netns_name": session.name_of(table.netns_cookie) or None,
        "owner_cookie": table.owner_cookie or None,
        "generation": table.generation,
        "frozen": table.frozen,
        "endpoints": table.endpoints,
        "max_endpoints": table.max_endpoints,
        "sockets": table.sockets,
        "max_sockets": table.max_sockets,
        "ephemeral": table.ephemeral,
        "max_ephemeral": table.max_ephemeral,
        "rules": table.rules,
        "acls": table.acls,
    }
