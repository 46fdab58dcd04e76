# SPDX-License-Identifier: Apache-2.0
"""Text that may hold anything, made fit for messages, errors and terminals."""

from __future__ import annotations


def utf8(text: str) -> str:
    """The same text, with a replacement character for each byte of the kernel's that is no UTF-8 (a surrogate here)."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def readable(text: str) -> str:
    r"""The same text, with what cannot be printed as Python writes it: \x1b, \n, \udcff."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


def shorten(text: str, most: int) -> str:
    """At most so many bytes of UTF-8. What is taken out is taken from the middle: a sentence ends with what to do."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return text
    tail = most // 2
    head = most - tail - len("…".encode())
    return f"{data[:head].decode(errors='ignore')}…{data[-tail:].decode(errors='ignore')}"
