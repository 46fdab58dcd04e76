# SPDX-License-Identifier: Apache-2.0
"""The lab's command line."""

import math

import pytest

from lab.graftlab import cli


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["run", "--", "true"], 600),
        (["run", "--timeout", "5", "--", "true"], 5),
        (["shell"], math.inf),
        (["shell", "--timeout", "5"], 5),
    ],
)
def test_a_command_has_ten_minutes_and_a_shell_has_no_end(words: list[str], seconds: float) -> None:
    assert cli._request(cli._parser().parse_args(words)).timeout == seconds
