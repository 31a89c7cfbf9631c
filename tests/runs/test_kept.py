"""What run folders and trainings share: `runs.kept`."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from robench.errors import RunError
from robench.files import read_json, write_json
from robench.runs.kept import KeptFolder, Kind, differences, flatten


class Kept(KeptFolder):
    kind: ClassVar[Kind] = Kind(
        manifest="kept.json",
        schema_version=3,
        noun="test",
        doing="testing in",
        differs="another test",
        differs_hint="take another",
        lacks="it is this test",
        lacks_hint="read it",
    )


def kept(path: Path, **changes: Any) -> Kept:
    return Kept(path, **{"spec": {"a": {"b": 1}}, "identity": {"data": "x"}, "facts": {}, **changes})


def test_what_is_equal_is_continued_and_what_differs_is_named(tmp_path: Path) -> None:
    with kept(tmp_path) as folder:
        assert not folder.finished
        folder.note(seen=1)
    with kept(tmp_path, facts={"other": 2}) as folder:
        assert folder.manifest["facts"] == {"seen": 1}
    for changes, named in (
        ({"spec": {"a": {"b": 2}}}, "is a test of another spec: `a.b` is 1 there and 2 here"),
        ({"spec": {"a": {"c": 1}}}, "`a.b` is 1 there and None here; `a.c` is None there and 1 here"),
        ({"identity": {"data": "y"}}, "holds another test: `data` is 'x' there and 'y' here"),
        ({"identity": {"model": "m"}}, "`data` is 'x' there and None here"),
        ({"identity": {"data": "x", "model": "m"}}, "does not note `model`, so nothing says that it is this test"),
    ):
        with pytest.raises(RunError) as refused, kept(tmp_path, **changes):
            pass
        assert named in refused.value.message
    manifest = read_json(tmp_path / "kept.json")
    write_json(tmp_path / "kept.json", {**manifest, "schema_version": 2})
    with pytest.raises(RunError, match="`schema_version` is 2 there and 3 here"), kept(tmp_path):
        pass


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "error")])
def test_an_exception_leaves_its_status_and_lets_the_folder_go(
    tmp_path: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), kept(tmp_path):
        raise error
    assert read_json(tmp_path / "kept.json")["status"] == status
    with kept(tmp_path), pytest.raises(RunError, match="another process is testing in"), kept(tmp_path):
        pass


def test_nested_tables_are_compared_by_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3}) == ["`b` is 2 there and 3 here"]
