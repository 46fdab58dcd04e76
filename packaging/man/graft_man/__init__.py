# SPDX-License-Identifier: Apache-2.0
"""Manual pages: prose by hand, with what the programs' own help says put in where they are built."""
