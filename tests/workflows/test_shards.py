"""Shards that are joined give the run of one machine; and what is not one run is refused."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from robench import workflows
from robench.errors import DataError, RunError
from robench.specs.shard import Shard
from robench.workflows import DataRef, Execution
from tests.workflows.runs import NET, files, untimed

DATA = DataRef("two-moons", limit=40)
ONE_THREAD = Execution(threads=1)
CALLS = {
    "certify": lambda net, **more: workflows.certify(net, DATA, eps=["0.1"], execution=ONE_THREAD, **more),
    "attack": lambda net, **more: workflows.attack(net, DATA, eps=["0.1", "1/4"], execution=ONE_THREAD, **more),
}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    file = tmp_path_factory.mktemp("net") / "net.py"
    file.write_text(NET)
    return f"{file}:make"


@pytest.fixture(scope="module", params=CALLS)
def made(request, net, tmp_path_factory):
    """One run whole, and the same in three shards."""
    folder, call = tmp_path_factory.mktemp(request.param), CALLS[request.param]
    call(net, out=folder / "whole")
    for number in (3, 1, 2):
        call(net, shard=Shard(number, 3), out=folder / "shards")
    return folder


@pytest.fixture
def shards(made, tmp_path):
    shutil.copytree(made / "shards", tmp_path / "shards")
    return tmp_path / "shards"


def test_the_shards_make_up_the_run_of_one_machine(made, shards, tmp_path):
    out = workflows.merge([shards], tmp_path / "run", execution=ONE_THREAD)
    assert out.summary["n"] == 40
    assert out.summary["reused"] == 40
    assert files(made / "whole") == files(out.folder)
    for name in files(out.folder):
        assert (out.folder / name).read_bytes() == (made / "whole" / name).read_bytes(), name
    assert untimed(out.folder) == untimed(made / "whole")
    one, other = (json.loads((run / "manifest.json").read_text()) for run in (made / "whole", out.folder))
    assert one.keys() == other.keys()
    for key in ("command", "spec", "spec_digest", "identity", "facts", "records_sha256", "status"):
        assert one[key] == other[key], key


def test_a_merge_may_be_repeated_or_go_on(shards, tmp_path):
    out = workflows.merge([shards], tmp_path / "run", execution=ONE_THREAD).folder
    records = (out / "records.jsonl").read_bytes()
    workflows.merge([shards], out, execution=ONE_THREAD)
    (out / "manifest.json").unlink()  # as a kill before the last file leaves it
    for name in ("summary.json", "contradictions.json", "directions.json", "gallery.safetensors"):
        (out / name).unlink(missing_ok=True)
    workflows.merge([shards], out, execution=ONE_THREAD)
    assert (out / "records.jsonl").read_bytes() == records


def changed(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def drop(folder):
    shutil.rmtree(folder)


def twice(folder):
    shutil.copytree(folder, folder.parent / "again")


def without_a_record(folder):
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join(lines[1:]))
    changed(folder, lambda manifest: manifest.update(records_sha256=None))


def with_another(folder):
    lines = (folder.parent / "shard-1-of-3" / "records.jsonl").read_text().splitlines(keepends=True)
    with (folder / "records.jsonl").open("a") as file:
        file.write(lines[0])
    changed(folder, lambda manifest: manifest.update(records_sha256=None))


def part(*path, value):
    def change(manifest):
        *parents, leaf = path
        for name in parents:
            manifest = manifest[name]
        manifest[leaf] = value

    return lambda folder: changed(folder, change)


REFUSED = {
    "missing": (drop, "of 3 shards 2/3 is missing"),
    "twice": (twice, "shard 2/3 is there twice"),
    "unfinished": (part("status", value="interrupted"), "shard 2/3 in .* is not finished"),
    "edited": (part("records_sha256", value="0"), "changed after the run was finished"),
    "a missing image": (without_a_record, "the shards hold 39 of 40 images"),
    "an image of another shard": (with_another, "is twice in .* or not of shard 2/3"),
    "another function": (part("identity", "function_sha256", value="0"), "another run: `function_sha256` is"),
    "other data": (part("identity", "data_sha256", value="0"), "another run: `data_sha256` is"),
    "another release": (part("identity", "robench", value="0.0"), "another run: `robench` is"),
    "another spec": (part("spec", "split", value="train"), "another run: `spec.split` is"),
    "another partition": (part("identity", "shard", value="2/4"), "twice in|another run: `of` is"),
    "another limit": (part("facts", "data", "n", value=50), "other images: `n` is 40 in `shard-1-of-3` and 50"),
    "another processor": (part("facts", "arithmetic", "cpu_capability", value="VSX"), "another arithmetic: `cpu_cap"),
    "another device": (part("facts", "arithmetic", "device", value="cuda"), "another arithmetic: `device` is"),
    "more threads": (part("facts", "arithmetic", "threads", value=8), "another arithmetic: `threads` is 1 in"),
    "another torch": (part("facts", "arithmetic", "torch", value="2.0"), "another arithmetic: `torch` is"),
    "another schema": (part("schema_version", value=1), "schema version 1"),
    "no shard at all": (part("identity", "shard", value="7/3"), "a manifest names a shard that is none"),
}


@pytest.mark.parametrize("made", ["certify"], indirect=True)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_one_run_is_refused(shards, tmp_path, kind):
    damage, reason = REFUSED[kind]
    damage(shards / "shard-2-of-3")
    with pytest.raises(RunError, match=reason):
        workflows.merge([shards], tmp_path / "run", execution=ONE_THREAD)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("made", ["certify"], indirect=True)
def test_a_folder_with_something_else_is_left_alone(made, shards, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        workflows.merge([shards], tmp_path / "notes", execution=ONE_THREAD)
    shutil.copytree(made / "shards" / "shard-1-of-3", tmp_path / "other")
    with pytest.raises(RunError, match="holds another run"):
        workflows.merge([shards], tmp_path / "other", execution=ONE_THREAD)


@pytest.mark.parametrize("made", ["certify"], indirect=True)
def test_a_report_wants_the_whole_run(made, shards, tmp_path):
    with pytest.raises(RunError, match="is shard 1/3 of a run") as refusal:
        workflows.gate(shards, requirements=["clean=0.1"])
    assert f"robench merge {shards} --out RUN" in refusal.value.hint
    shutil.copytree(made / "whole", tmp_path / "shards" / "whole")
    assert workflows.gate(shards, requirements=["clean=0.0"])["n"] == 40


def test_the_command_of_a_missing_shard_is_named(shards, tmp_path):
    argv = ["certify", "net.py:make", "--data", "two-moons", "--shard", "1/3", "--out", "a b"]
    changed(shards / "shard-1-of-3", lambda manifest: manifest.update(argv=argv))
    drop(shards / "shard-3-of-3")
    with pytest.raises(RunError) as refusal:
        workflows.merge([shards], tmp_path / "run", execution=ONE_THREAD)
    assert "robench certify net.py:make --data two-moons --shard 3/3 --out 'a b'" in refusal.value.hint


def test_a_shard_without_images_is_refused(net, tmp_path):
    with pytest.raises(DataError, match="holds none of the 1 images"):
        for number in (1, 2):
            workflows.certify(net, DataRef("two-moons", limit=1), shard=Shard(number, 2), out=tmp_path)


def test_a_whole_run_is_no_shard(made, tmp_path):
    with pytest.raises(RunError, match="there is no shard"):
        workflows.merge([made / "whole"], tmp_path / "run")


@pytest.mark.parametrize("made", ["certify"], indirect=True)
def test_a_finished_run_in_another_order_is_put_in_order(made, net, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(made / "whole", run)
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[::-1]))
    changed(run, lambda manifest: manifest.update(records_sha256=hashlib.sha256(b"".join(lines[::-1])).hexdigest()))
    for _ in range(2):  # the second time it is as it was finished
        assert CALLS["certify"](net, out=run).summary["reused"] == 40
        assert (run / "records.jsonl").read_bytes() == b"".join(lines)
