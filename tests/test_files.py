import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robench.errors import RunError
from robench.files import LOCK, lock_folder, read_json, write_atomic, write_json

HOLD = """
import sys, time
from pathlib import Path
from robench.files import lock_folder
lock = lock_folder(Path(sys.argv[1]), doing="writing")
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_held_by_another_process_is_refused_until_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"another process is writing `{tmp_path}`"):
            lock_folder(tmp_path, doing="writing")
        holder.kill()
    lock_folder(tmp_path, doing="writing").release()


def test_a_folder_is_held_until_it_is_released(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path, doing="writing")
    with pytest.raises(RunError, match="another process is training in"):
        lock_folder(tmp_path, doing="training in")
    lock.release()
    lock_folder(tmp_path, doing="writing").release()


def test_a_lock_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(RunError, match="cannot write in"):
        lock_folder(tmp_path, doing="writing")


def test_a_lock_outlives_neither_a_file_left_behind_nor_its_content(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(f"{os.getpid()}\n")
    lock_folder(tmp_path, doing="writing").release()


def test_json_is_written_whole_and_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    with pytest.raises(RunError, match="cannot write"):
        write_atomic(tmp_path / "absent" / "a", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", "\ud800".encode("utf-8", "surrogatepass")])
def test_a_broken_json_file_is_an_error_with_its_name(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
