import dataclasses
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.errors import RunError
from robench.files import read_json
from robench.records.record import CertifyRecord, Status, certify_record, to_line
from robench.runs.folder import RunFolder, RunRequest
from robench.runs.reading import find_runs, read_records

REQUEST = RunRequest(command="certify", spec={"data": {"name": "mnist"}, "split": "test"}, identity={"weights": "aa"})


def record(index: int) -> CertifyRecord:
    return CertifyRecord(
        index=index,
        input_sha256="0" * 64,
        label=1,
        predicted=1,
        runner_up=2,
        margin=0.3,
        radius_paper=0.1,
        radius_pairwise=0.2,
        status=Status.CERTIFIED,
    )


def folder(path: Path, request: RunRequest = REQUEST) -> RunFolder[CertifyRecord]:
    return RunFolder(path, request, parse=certify_record, to_line=to_line)


def test_a_run_goes_from_started_to_success(tmp_path: Path) -> None:
    with folder(tmp_path / "run") as run:
        assert read_json(tmp_path / "run" / "manifest.json")["status"] == "started"
        run.append(record(0))
        run.finish({"n": 1})
    manifest = read_json(tmp_path / "run" / "manifest.json")
    assert manifest["status"] == "success"
    assert manifest["environment"]["versions"]["torch"]
    assert list(read_records(tmp_path / "run", certify_record)) == [record(0)]
    with folder(tmp_path / "run") as again:
        assert again.finished
        assert again.records() == [record(0)]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "error")])
def test_a_run_left_by_an_exception_says_so_and_resumes(
    tmp_path: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), folder(tmp_path) as run:
        run.append(record(0))
        raise error
    assert read_json(tmp_path / "manifest.json")["status"] == status
    with folder(tmp_path) as run:
        assert run.records() == [record(0)]
        run.append(record(1))
        run.finish({"n": 2})
    assert [r.index for r in read_records(tmp_path, certify_record)] == [0, 1]


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_a_record_torn_at_any_byte_is_cut_off(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        with pytest.raises(ZeroDivisionError), folder(path) as run:
            for index in range(3):
                run.append(record(index))
            raise ZeroDivisionError
        file = path / "records.jsonl"
        content = file.read_bytes()
        file.write_bytes(content[: cut % (len(content) + 1)])
        with folder(path) as run:
            for index in range(len(run.records()), 3):
                run.append(record(index))
            run.finish({})
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spec": {"data": {"name": "cifar10"}, "split": "test"}}, "`data.name` is 'mnist' there and 'cifar10' here"),
        ({"identity": {"weights": "bb"}}, "`weights` is 'aa' there and 'bb' here"),
        ({"command": "attack"}, "is a run of `certify`, not of `attack`"),
    ],
)
def test_another_spec_is_refused_with_both_values(tmp_path: Path, change: dict[str, object], named: str) -> None:
    with folder(tmp_path) as run:
        run.finish({})
    with pytest.raises(RunError, match=named), folder(tmp_path, dataclasses.replace(REQUEST, **change)):
        pass


def test_a_run_of_another_schema_version_is_not_continued(tmp_path: Path) -> None:
    with folder(tmp_path) as run:
        run.finish({})
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 2', '"schema_version": 0'))
    with pytest.raises(RunError, match="`schema_version` is 0 there and 2 here"), folder(tmp_path):
        pass


def test_two_writers_are_refused(tmp_path: Path) -> None:
    with folder(tmp_path), pytest.raises(RunError, match="another process"), folder(tmp_path):
        pass
    with folder(tmp_path) as run:
        run.append(record(0))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the folder"), folder(tmp_path / "file" / "run"):
        pass
    if os.geteuid() != 0:
        tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
        with pytest.raises(RunError, match="cannot"), folder(tmp_path / "run"):
            pass


def test_records_without_a_manifest_are_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(to_line(record(0)) + "\n")
    with pytest.raises(RunError, match=r"no `manifest\.json`"), folder(tmp_path):
        pass


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(to_line(record(0)) + "\nnot json\n")
    with pytest.raises(RunError, match="line 2"):
        list(read_records(tmp_path, certify_record))


def test_runs_are_found_below_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        with folder(tmp_path / "runs" / name) as run:
            run.finish({})
    assert [path.name for path in find_runs(tmp_path)] == ["a", "b"]
    assert find_runs(tmp_path / "runs" / "a") == [tmp_path / "runs" / "a"]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(RunError):
            find_runs(path)


def test_a_finished_run_that_gets_more_images_is_not_finished_until_it_says_so(tmp_path: Path) -> None:
    with folder(tmp_path) as run:
        run.append(record(0))
        run.finish({"n": 1})
    with pytest.raises(KeyboardInterrupt), folder(tmp_path) as run:
        run.append(record(1))
        raise KeyboardInterrupt
    assert read_json(tmp_path / "manifest.json")["status"] == "interrupted"
    assert not (tmp_path / "summary.json").exists()
    with folder(tmp_path) as run:
        assert not run.finished


def test_a_folder_of_something_else_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(RunError, match=r"model\.json"), folder(tmp_path):
        pass


@pytest.mark.parametrize("content", ['{"identity": 3, "spec": []}', "[1]", "{}"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RunError, match=r"manifest\.json"), folder(tmp_path):
        pass


def test_effort_is_summed_over_the_parts_and_damage_is_passed_over(tmp_path: Path) -> None:
    with folder(tmp_path) as run:
        run.spend(seconds=1.5, forward=2)
    with (tmp_path / "effort.jsonl").open("a") as file:
        file.write('[1]\n{"seconds": 1')
    with folder(tmp_path) as run:
        run.spend(seconds=1.0, forward=3)
        assert run.spent() == {"seconds": 2.5, "forward": 5}


def test_records_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(RunError, match=r"records\.jsonl"):
        list(read_records(tmp_path, certify_record))


CHANGES: dict[str, Callable[[list[str]], list[str]]] = {
    "a number": lambda lines: [lines[0].replace("0.2", "0.9"), *lines[1:]],
    "a lost line": lambda lines: lines[1:],
    "a line twice": lambda lines: [*lines, lines[0]],
    "another order": lambda lines: lines[::-1],
    "none left": lambda lines: [],
}


@pytest.mark.parametrize("change", CHANGES)
def test_records_changed_after_the_run_was_finished_are_refused(tmp_path: Path, change: str) -> None:
    with folder(tmp_path) as run:
        for index in range(3):
            run.append(record(index))
        run.finish({"n": 3})
    file = tmp_path / "records.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line}\n" for line in CHANGES[change](lines)))
    with pytest.raises(RunError, match="changed after the run was finished"), folder(tmp_path):
        pass


def test_a_finished_run_that_grows_notes_its_new_records_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        monkeypatch.setattr("sys.argv", ["robench", "certify", "--limit", str(index + 1)])
        with folder(tmp_path) as run:
            assert len(run.records()) == index
            run.append(record(index))
            run.finish({"n": index + 1})
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["argv"] == ["certify", "--limit", "3"]
    noted = manifest["records_sha256"]
    assert noted == hashlib.sha256((tmp_path / "records.jsonl").read_bytes()).hexdigest()
