"""Parquet files are described by another process before they are opened: pyarrow ends the process at some."""

from pathlib import Path

import pytest

from scbch_keras.training.data.own import parquet_check
from tests.training.data.test_hostile_files import FORMATS, mutated, write_parquet

pytestmark = pytest.mark.numpy_only
pytest.importorskip("pyarrow")


@pytest.mark.parametrize("seed", [98, 688])
def test_a_parquet_file_at_which_pyarrow_aborts_is_refused(tmp_path, seed):
    if pytest.importorskip("pyarrow").__version__ != "26.0.1":
        pytest.skip("the seeds are of the file that pyarrow 26.0.1 writes")
    write, readers = FORMATS["x.parquet"]
    path = tmp_path / "x.parquet"
    write(path)
    path.write_bytes(mutated(path.read_bytes(), seed))
    for read in readers:
        with pytest.raises(ValueError, match=r"x\.parquet: expected a Parquet file"):
            read(path)


def test_a_process_that_ends_at_a_file_tells_why_and_the_next_file_is_described(tmp_path, monkeypatch):
    write_parquet(tmp_path / "whole.parquet")
    ends = (
        "    if 'damaged' in os.fsdecode(bytes.fromhex(line.decode())):\n        sys.exit('  what():  no')\n"
    )
    monkeypatch.setattr(
        parquet_check, "_DESCRIBE", parquet_check._DESCRIBE.replace("    try:\n", f"{ends}    try:\n")
    )
    describer = parquet_check._Describer()
    try:
        for _ in range(2):
            assert describer.ended_by(tmp_path / "damaged.parquet") == "what():  no"
            assert describer.ended_by(tmp_path / "whole.parquet") is None
    finally:
        describer.close()


def test_one_process_describes_parquet_files_until_one_ends_it(tmp_path, monkeypatch):
    write_parquet(tmp_path / "a.parquet")
    monkeypatch.chdir(tmp_path)
    describer = parquet_check._Describer()
    try:
        assert describer.ended_by(Path("a.parquet")) is None
        first = describer._process
        (tmp_path / "b\nc.parquet").write_bytes(b"no Parquet file")
        for name in ("b\nc.parquet", "missing.parquet", "a.parquet"):
            assert describer.ended_by(Path(name)) is None
        assert describer._process is first
        first.kill()
        first.wait()
        assert describer.ended_by(tmp_path / "a.parquet") is None
        second = describer._process
        describer.renew()
        assert describer.ended_by(tmp_path / "a.parquet") is None
        assert describer._process.pid != second.pid
        second.kill()
        second.communicate()
    finally:
        describer.close()
