"""Downloads, from a server on the loopback only."""

import hashlib
import http.server
import logging
import threading

import numpy as np
import pytest

from robench.data import load, loading
from robench.data.download import cache_folder, fetch
from robench.data.published import CIFAR10, IDX, Remote
from robench.errors import DataError
from robench.specs.data import DataSpec
from tests.data.formats import Told, write_idx_set

CONTENT = bytes(range(256)) * 1000
SUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if "torn" in self.path else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked = {}, []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server, *paths, checksum=SUM):
    return Remote("file.bin", tuple(server.url + path for path in paths), checksum)


def refused(wanted, folder, *parts):
    with pytest.raises(DataError) as caught:
        fetch(wanted, folder, Told())
    for part in ("file.bin", *parts):
        assert part in caught.value.message
    assert "--data-dir" in caught.value.hint
    assert "ROBENCH_DATA_DIR" in caught.value.hint
    assert not folder.is_dir() or list(folder.iterdir()) == []


def test_a_good_file_comes_with_its_progress_and_only_once(server, tmp_path, caplog):
    server.files["/good"] = CONTENT
    told = Told()
    with caplog.at_level(logging.INFO):
        path = fetch(remote(server, "/good"), tmp_path / "new" / "cache", told)
    assert path.read_bytes() == CONTENT
    assert told.stages == [("downloading file.bin (bytes)", len(CONTENT))]
    assert told.steps == [len(CONTENT)]
    assert fetch(remote(server, "/good"), tmp_path / "new" / "cache", told) == path
    assert server.asked == ["/good"]


def test_a_wrong_checksum_is_refused_and_leaves_nothing(server, tmp_path):
    server.files["/wrong"] = CONTENT[:-1] + b"\0"
    refused(remote(server, "/wrong"), tmp_path / "cache", "does not match")


def test_a_torn_download_is_refused_and_leaves_nothing(server, tmp_path):
    server.files["/torn"] = CONTENT
    refused(remote(server, "/torn"), tmp_path / "cache", "/torn")


def test_a_missing_file_is_refused(server, tmp_path):
    refused(remote(server, "/none"), tmp_path / "cache", "404")


def test_no_network_is_refused(tmp_path):
    wanted = Remote("file.bin", ("http://127.0.0.1:9/file.bin",), SUM)
    refused(wanted, tmp_path / "cache", "127.0.0.1")


def test_the_next_mirror_is_tried(server, tmp_path):
    server.files.update({"/wrong": b"x", "/torn": CONTENT, "/good": CONTENT})
    path = fetch(remote(server, "/none", "/wrong", "/torn", "/good"), tmp_path, Told())
    assert path.read_bytes() == CONTENT
    assert server.asked == ["/none", "/wrong", "/torn", "/good"]


def test_a_cached_file_with_another_sum_is_fetched_again(server, tmp_path):
    server.files["/good"] = CONTENT
    (tmp_path / "file.bin").write_bytes(b"old")
    assert fetch(remote(server, "/good"), tmp_path, Told()).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_made_is_refused(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file is in the way")
    with pytest.raises(DataError, match=r"file\.bin"):
        fetch(remote(server, "/good"), tmp_path / "cache", Told())


def test_the_cache_folder_is_the_variable_else_that_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBENCH_DATA_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ROBENCH_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().is_relative_to(tmp_path / "xdg")


def test_a_set_without_data_dir_is_downloaded_into_the_cache_and_found_there(server, tmp_path, monkeypatch):
    written = write_idx_set(tmp_path / "site", packed=True)
    remotes = {}
    for path in (tmp_path / "site").iterdir():
        server.files[f"/{path.name}"] = path.read_bytes()
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        remotes[path.stem] = Remote(path.name, (f"{server.url}/{path.name}",), f"md5:{md5}")
    monkeypatch.setattr(loading, "IDX", {"mnist": remotes})
    monkeypatch.setenv("ROBENCH_DATA_DIR", str(tmp_path / "cache"))
    for _ in range(2):
        data = load(DataSpec(name="mnist"), "test")
        np.testing.assert_array_equal(data.inputs[:, 0], written["test"][0])
    assert sorted(server.asked) == ["/t10k-images-idx3-ubyte.gz", "/t10k-labels-idx1-ubyte.gz"]
    assert len(list((tmp_path / "cache" / "mnist").iterdir())) == 2


def test_a_data_dir_is_never_filled_by_downloads(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBENCH_DATA_DIR", str(tmp_path / "cache"))
    for name in ("mnist", "fashion-mnist", "cifar10", "celeba"):
        with pytest.raises(DataError):
            load(DataSpec(name=name), "test", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lists_of_files_are_whole():
    for name in ("mnist", "fashion-mnist"):
        assert len(IDX[name]) == 4
        for stem, item in IDX[name].items():
            assert item.name == f"{stem}.gz"
            assert all(url.endswith(item.name) for url in item.urls)
            assert len(item.checksum) == len("md5:") + 32
    for item in CIFAR10.values():
        assert len(item.checksum) == len("sha256:") + 64
