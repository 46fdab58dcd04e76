# SPDX-License-Identifier: Apache-2.0
"""Columns that resources of every type have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from graft_client import messages as m
from graftcli import text
from graftcli.output import Column

Resource = TypeVar("Resource", bound=m.Namespace | m.Endpoint | m.Rule | m.AclRule)


def of_one(columns: Sequence[Column[Resource]], more: Sequence[Column[Resource]] = ()) -> list[Column[Resource]]:
    """What is told of one resource: the columns of its list, with what is not in sync, more, and what graftd notes."""
    return [
        *(column for column in columns if column.head != "SYNC"),
        Column("SYNC", lambda one: text.sync_detail(one.sync)),
        *more,
        Column("CREATED", lambda one: one.create_time.ToJsonString()),
        Column("UPDATED", lambda one: one.update_time.ToJsonString()),
        Column("UID", lambda one: one.uid),
        Column("ETAG", lambda one: one.etag),
    ]
