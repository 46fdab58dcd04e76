# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a request before anything below the API is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from graft.v1 import errors_pb2
from graftd.api.text import readable, shorten
from graftd.errors import GraftError

if TYPE_CHECKING:
    from graft.v1.errors_pb2 import ErrorReason

T = TypeVar("T")

MOST_VIOLATIONS = 32
_SENTENCE_MOST = 320  # bytes


class Violation(NamedTuple):
    """field: its path in the request, as in `endpoint.inet.ports.low`. sentence: what is wrong and what would be
    right, without the field."""

    field: str
    sentence: str


class InvalidFieldsError(GraftError):
    """Fields of a request have values that they cannot have.

    violations: one at least, MOST_VIOLATIONS at most. more: how many there are beyond these.
    """

    reason: ClassVar[ErrorReason] = errors_pb2.ERROR_REASON_INVALID_FIELD

    def __init__(self, violations: Iterable[Violation], more: int = 0) -> None:
        self.violations = tuple(violations)
        self.more = more
        first = self.violations[0]
        others = len(self.violations) - 1 + more
        message = f"{first.field}: {first.sentence}" if first.field else first.sentence
        super().__init__(f"{message} (and {others} more)" if others else message)


class ImmutableFieldsError(InvalidFieldsError):
    """An update would change what cannot be changed."""

    reason = errors_pb2.ERROR_REASON_FIELD_IMMUTABLE


class InvalidMaskError(InvalidFieldsError):
    """A mask names what there is not."""

    reason = errors_pb2.ERROR_REASON_INVALID_MASK


class InvalidPageTokenError(InvalidFieldsError):
    """A page token was not given out, or for another request."""

    reason = errors_pb2.ERROR_REASON_INVALID_PAGE_TOKEN

    def __init__(self) -> None:
        super().__init__(
            [
                Violation(
                    "page_token",
                    "it was not given out for this request: send the next_page_token of the answer before, and all "
                    "else but page_size as it was then; or leave it empty to begin anew",
                )
            ]
        )


class RefusedError(GraftError):
    """A request is refused for a reason that the API itself finds: of the caller, of a limit, of the service's state.

    metadata: what the reason's comment in errors.proto names.
    """

    def __init__(self, reason: ErrorReason, message: str, **metadata: str | int) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = {key: str(value) for key, value in metadata.items()}


class Violations:
    """What is wrong with a request, as it is found."""

    def __init__(self) -> None:
        self._found: list[Violation] = []
        self._more = 0

    def __len__(self) -> int:
        return len(self._found) + self._more

    def add(self, field: str, sentence: object) -> None:
        """sentence: text, or an exception whose text it is."""
        if len(self._found) < MOST_VIOLATIONS:
            self._found.append(Violation(field, shorten(readable(str(sentence)), _SENTENCE_MOST)))
        else:
            self._more += 1

    def taken(self, value: T | None) -> T:
        """What was read, which is None where something is wrong. Raises InvalidFieldsError if anything was found."""
        self.check()
        if value is None:
            raise TypeError("nothing was read, and nothing was found wrong")
        return value

    def check(self, kind: type[InvalidFieldsError] = InvalidFieldsError) -> None:
        """Raise an InvalidFieldsError of that kind if anything was found."""
        if self._found:
            raise kind(self._found, self._more)
