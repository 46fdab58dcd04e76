# SPDX-License-Identifier: Apache-2.0
"""A container without an interface of its own, at host speed."""
