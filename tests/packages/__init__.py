# SPDX-License-Identifier: Apache-2.0
"""Packages of the tree, each built in a root that has what its format needs."""
