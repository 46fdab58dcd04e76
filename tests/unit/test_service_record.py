# SPDX-License-Identifier: Apache-2.0
"""What clients of a guest that is reset were told is read again from their files, as of any instant."""

from pathlib import Path

from service import record

FIRST: record.State = {"a": 1, "b": 2}
SECOND: record.State = {"a": 3, "c": 4}
THIRD: record.State = {"a": 3}


def test_a_file_that_ends_anywhere_tells_what_was_acknowledged_and_what_was_on_its_way(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    writer = record.Writer(path, FIRST)
    known: list[tuple[record.State, record.State | None]] = [(FIRST, None)]
    ends = [path.stat().st_size]
    for before, wanted in ((FIRST, SECOND), (SECOND, THIRD), (THIRD, THIRD)):
        writer.intend(wanted)
        known.append((before, wanted))
        ends.append(path.stat().st_size)
        writer.done(wanted)
        known.append((wanted, None))
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    cut = tmp_path / "cut"
    for size in range(ends[0], len(content) + 1):
        cut.write_bytes(content[:size])
        # The last line that is whole counts.
        assert record.read(cut) == known[max(number for number, end in enumerate(ends) if end <= size)]


def test_each_boot_has_a_folder_and_the_last_is_read(tmp_path: Path) -> None:
    assert (record.newest(tmp_path), record.acknowledged(tmp_path)) == ([], 0)
    for boot in range(11):
        writers = record.begin(tmp_path, [{"boot": boot}, {}])
        assert [record.read(path)[0] for path in record.newest(tmp_path)] == [{"boot": boot}, {}]
        for writer in writers:
            writer.intend({"done": boot})
            assert record.acknowledged(tmp_path) == boot * 2 + (writer is writers[1])
            writer.done({"done": boot})


def test_a_boot_that_was_not_quite_begun_is_none(tmp_path: Path) -> None:
    record.begin(tmp_path, [{"boot": 0}])
    begun = tmp_path / ".begun"
    begun.mkdir()
    (begun / "0").write_text('{"bo')
    assert [record.read(path)[0] for path in record.newest(tmp_path)] == [{"boot": 0}]
    record.begin(tmp_path, [{"boot": 1}])
    assert [record.read(path)[0] for path in record.newest(tmp_path)] == [{"boot": 1}]
