# SPDX-License-Identifier: Apache-2.0
"""What tools keep between runs lies below build/, where 'make clean' finds it."""

from pathlib import Path

from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).resolve().parents[2] / "build" / "cache" / "hypothesis")
