# SPDX-License-Identifier: Apache-2.0
"""How the demo fails."""


class DemoError(Exception):
    """The demo did not show what it is there to show; the text is a sentence."""
