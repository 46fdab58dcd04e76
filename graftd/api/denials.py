# SPDX-License-Identifier: Apache-2.0
"""What a caller is refused for who it is."""

from __future__ import annotations

from graft.v1 import errors_pb2
from graftd.api.errors import RefusedError


class UnauthenticatedError(RefusedError):
    """Nobody knows who the caller is."""

    def __init__(self, message: str) -> None:
        super().__init__(errors_pb2.ERROR_REASON_UNAUTHENTICATED, message)


class PermissionDeniedError(RefusedError):
    """None of the caller's roles allows the call. method: as gRPC names it, `/package.Service/Method`.
    role: the least that would do."""

    def __init__(self, message: str, *, method: str, role: str) -> None:
        super().__init__(errors_pb2.ERROR_REASON_ROLE_REQUIRED, message, method=method, role=role)
        self.method = method
        self.role = role


class PolicyDeniedError(RefusedError):
    """The namespace's policy does not allow it. policy: its name, "" where no policy covers the namespace.
    field: what of the resource is at fault, as the contract names it. endpoint: the name of the one that it is about,
    where it is one."""

    endpoint = ""

    def __init__(self, policy: str, field: str, message: str) -> None:
        super().__init__(errors_pb2.ERROR_REASON_POLICY_DENIED, message, policy=policy, field=field)
        self.policy = policy
        self.field = field


class PolicyLimitError(RefusedError):
    """A limit of the namespace's policy is reached. limit: its name there; value: what it is."""

    def __init__(self, policy: str, limit: str, value: int, message: str) -> None:
        super().__init__(errors_pb2.ERROR_REASON_LIMIT_REACHED, message, policy=policy, limit=limit, value=value)
        self.policy = policy
        self.limit = limit
        self.value = value
