# SPDX-License-Identifier: Apache-2.0
"""The disk that outlives its guests: what a guest flushed is in its file, and of the rest one half."""

import subprocess
from pathlib import Path

import pytest

from lab.graftlab.errors import LabError
from lab.graftlab.statedisk import SECTOR, StateDisk

SECTORS = 64
ONES = b"\1" * SECTOR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.write_bytes(bytes(SECTORS * SECTOR))
    return path


def test_what_is_written_is_read_and_not_in_the_file_until_it_is_flushed(path: Path) -> None:
    with StateDisk(path) as disk:
        disk.write(SECTOR, ONES * 2)
        assert disk.read(0, 4 * SECTOR) == bytes(SECTOR) + ONES * 2 + bytes(SECTOR)
        assert path.read_bytes() == bytes(SECTORS * SECTOR)
        disk.flush()
        assert path.read_bytes()[: 4 * SECTOR] == disk.read(0, 4 * SECTOR)
        assert disk.power_off() == (0, 0)


def test_one_half_of_what_is_not_flushed_is_lost_in_whole_sectors(path: Path) -> None:
    with StateDisk(path) as disk:
        disk.write(0, ONES)
        disk.flush()
        disk.write(SECTOR, ONES * 10)
        assert disk.power_off() == (5, 5)
        content = path.read_bytes()
        sectors = [content[place : place + SECTOR] for place in range(0, len(content), SECTOR)]
        assert sectors[0] == ONES
        assert sectors[1:11].count(ONES) == sectors[1:11].count(bytes(SECTOR)) == 5
        assert set(sectors[11:]) == {bytes(SECTOR)}


def test_a_single_sector_that_is_not_flushed_is_lost(path: Path) -> None:
    with StateDisk(path) as disk:
        disk.write(SECTOR, ONES)
        disk.write(SECTOR, ONES)
        assert disk.power_off() == (1, 0)
        assert disk.read(SECTOR, SECTOR) == bytes(SECTOR)


def test_a_disk_that_just_ends_has_what_was_flushed(path: Path) -> None:
    with StateDisk(path) as disk:
        disk.write(0, ONES)
        disk.flush()
        disk.write(SECTOR, ONES)
    assert path.read_bytes().startswith(ONES + bytes(SECTOR))


@pytest.mark.parametrize(
    ("offset", "length", "holds"),
    [
        (0, SECTOR, True),
        ((SECTORS - 1) * SECTOR, SECTOR, True),
        ((SECTORS - 1) * SECTOR, 2 * SECTOR, False),
        (512, SECTOR, False),
        (0, 512, False),
    ],
)
def test_it_holds_whole_sectors_up_to_its_end(offset: int, length: int, holds: bool, path: Path) -> None:
    with StateDisk(path) as disk:
        assert disk.holds(offset, length) == holds


def test_one_guest_has_it_at_a_time(path: Path) -> None:
    with StateDisk(path):
        with pytest.raises(LabError, match=r"^the state .*/state is another guest's$") as refused:
            StateDisk(path)
        assert refused.value.hint == "Wait for its end, or name another file."
    with StateDisk(path):
        pass


def test_a_missing_one_is_made_and_one_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with StateDisk(path) as disk:
        assert disk.size % SECTOR == 0
        assert subprocess.run(["/sbin/e2fsck", "-fn", path], capture_output=True, check=False).returncode == 0
        offset = disk.size - SECTOR
        disk.write(offset, ONES)
        disk.flush()
    with StateDisk(path) as disk:
        assert disk.read(offset, SECTOR) == ONES
