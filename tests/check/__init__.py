# SPDX-License-Identifier: Apache-2.0
"""Formatters, linters and type checks."""
