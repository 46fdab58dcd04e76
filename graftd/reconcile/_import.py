# SPDX-License-Identifier: Apache-2.0
"""A table of the kernel as resources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graftd.errors import NotImportableError
from graftd.model import (
    Freeze,
    Identified,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    Table,
    TableLimits,
    TargetedEndpoint,
    check_id,
)
from graftd.reconcile._difference import LIMITS, Actual
from graftd.reconcile._places import Nothing, Places, unresolved
from graftd.reconcile._tables import DEFAULT_LIMITS, Tables
from graftd.store import Transaction


def content_of(name: str, actual: Actual, target_of: Callable[[int], str | None]) -> NamespaceContent:
    """What a table holds. target_of: the namespace of a cookie, "" for graftd's own, None for one that is not
    registered. Raises NotImportableError."""
    endpoints = []
    for entry in actual.endpoints.values():
        endpoint = entry.endpoint
        what = f"endpoint {endpoint.name}"
        try:
            check_id("an endpoint", endpoint.name)
        except ValueError as error:
            raise NotImportableError(str(error), namespace=name, entry=what) from error
        if not entry.target_cookie:
            raise NotImportableError(
                f"the target namespace of endpoint '{endpoint.name}' is gone: delete the endpoint first",
                namespace=name,
                entry=what,
            )
        target = target_of(entry.target_cookie)
        if target is None:
            raise NotImportableError(
                f"endpoint '{endpoint.name}' leads to a namespace that is not registered (cookie "
                f"{entry.target_cookie}): register that one first, or delete the endpoint",
                namespace=name,
                entry=what,
            )
        endpoints.append(TargetedEndpoint(endpoint, target))
    return NamespaceContent(
        tuple(endpoints),
        tuple(Identified("", rule) for rule in sorted(actual.rules, key=str)),
        tuple(Identified("", rule) for rule in actual.acl),
    )


def as_in(table: Table, namespace: Namespace) -> Namespace:
    """The namespace with what its table says of limits and freeze, where nothing is said."""
    found: dict[str, int | None] = {}
    for word in LIMITS:
        said, there = getattr(namespace.limits, word), getattr(table, word)
        unsaid = None if there == getattr(DEFAULT_LIMITS, word) else there
        found[word] = unsaid if said is None else said
    freeze = namespace.freeze
    if freeze is None and table.frozen:
        freeze = Freeze("it was frozen when it was imported")
    return replace(namespace, limits=TableLimits(**found), freeze=freeze)


def adopt(
    transaction: Transaction, namespace: Namespace, places: Places, tables: Tables
) -> tuple[NamespaceRecord, NamespaceContent]:
    """Register a namespace with what its table holds. Raises SelectorUnresolvedError, NotImportableError, NotOursError,
    NamespaceTakenError, AlreadyExistsError, ModuleNotLoadedError."""
    name = namespace.name

    def target_of(cookie: int) -> str | None:
        return "" if cookie == places.own.cookie else places.name_of(cookie) or None

    with places.place(namespace.selector) as place:
        if isinstance(place, Nothing):
            raise unresolved(name, place)
        places.check(name, place)
        actual = tables.actual(place)
        content = content_of(name, actual, target_of)
        transaction.create_namespace(as_in(actual.table, namespace))
        transaction.apply(None, name, content)
        return transaction.identify_namespace(name, place.identity), content
