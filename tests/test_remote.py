"""Stores behind URLs: what is read there is what is read here, and what goes wrong is said in one line."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import assert_same, made_up
from synthetic import TINY, make_store

from data.dataset import load_split
from data.file_cache import digest_of
from data.remote import is_url
from data.store import Store
from gnfactor.config import CacheConfig, from_yaml, override
from gnfactor.errors import ConfigError, DataError, MissingExtraError

fsspec = pytest.importorskip("fsspec", reason="stores behind URLs are read through fsspec")
EPISODE = "push/variation0/seed0"


class Handler(SimpleHTTPRequestHandler):
    """Serves files, lists nothing, and can be told to break off."""

    asked: list[str]
    cut_off: list[str]
    """Endings of paths whose next answer breaks off after half of the file."""
    wrong: list[str]
    """Endings of paths that are answered with half of the file, as if it were all."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = Path(self.translate_path(self.path))
        cut = next((ending for ending in self.cut_off if self.path.endswith(ending)), None)
        wrong = any(self.path.endswith(ending) for ending in self.wrong)
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        half = content[: len(content) // 2]
        if cut is not None:
            self.cut_off.remove(cut)
        self.send_response(200)
        self.send_header("Content-Length", str(len(half if wrong else content)))
        self.end_headers()
        self.wfile.write(half if wrong or cut is not None else content)

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, type[Handler], ThreadingHTTPServer]]:
    handler = type("OneServersHandler", (Handler,), {"asked": [], "cut_off": [], "wrong": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler, server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in a folder, with views to learn from and pictures of two sizes."""
    path = make_store(tmp_path_factory.mktemp("stores") / "demo", episodes=2, rig=2)
    store = Store.create(path)
    cameras = {"front": (8, 6), "wrist": (8, 6), "overhead": (5, 5)}
    whole = made_up(20, cameras, (9, 19), labels=True, targets={"rig0": (8, 6), "rig1": (7, 3)}, target_frames=(0, 9))
    store.write(whole, "sizes/variation1/seed17")
    store.finish()
    return path


@pytest.fixture
def cache(tmp_path: Path) -> CacheConfig:
    return CacheConfig(folder=str(tmp_path / "cache"))


@pytest.fixture(params=["memory", "file", "http"])
def url(request: pytest.FixtureRequest, here: Path) -> Iterator[str]:
    """The same store behind a URL."""
    if request.param == "file":
        yield f"file://{here}"
    elif request.param == "memory":
        fsspec.filesystem("memory").put(str(here), "/bucket/demo", recursive=True)
        yield "memory://bucket/demo"
        fsspec.filesystem("memory").rm("/bucket", recursive=True)
    else:
        pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")
        with served(here) as (address, *_):
            yield address


def test_what_is_read_through_a_url_is_what_is_read_here(here: Path, url: str, cache: CacheConfig) -> None:
    local, remote = Store.open(here), Store.open(url, cache)
    assert remote.episodes() == local.episodes()
    assert EPISODE in remote
    assert "push/variation0/seed99" not in remote
    for info in local.episodes():
        assert_same(remote.read(info.name, target_views=None), local.read(info.name, target_views=None))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_part_is_the_same_too(here: Path, tmp_path: Path, data: st.DataObject) -> None:
    name = "sizes/variation1/seed17"
    frames = sorted(data.draw(st.sets(st.integers(0, 19), min_size=1)))
    cameras = data.draw(st.lists(st.sampled_from(["front", "wrist", "overhead"]), unique=True))
    views = data.draw(st.lists(st.sampled_from(["rig0", "rig1"]), unique=True))
    remote = Store.open(f"file://{here}", CacheConfig(str(tmp_path / "cache")))
    assert_same(remote.read(name, frames, cameras, views), Store.open(here).read(name, frames, cameras, views))


def test_only_what_is_needed_is_fetched_and_once(here: Path, cache: CacheConfig) -> None:
    with served(here) as (url, handler, _):
        store = Store.open(url, cache)
        assert handler.asked == ["/zarr.json", "/index.json"]
        handler.asked.clear()
        for _again in range(2):
            store.read("sizes/variation1/seed17", [3], ["overhead"])
        # Files of equal content are one in the cache: whether both are fetched depends on which thread is first.
        contents = {(here / path.lstrip("/")).read_bytes() for path in handler.asked}
        assert len(handler.asked) == len(set(handler.asked))
        assert len(contents) <= len(handler.asked) <= 2 * (3 + 5 + 5)
        assert len(contents) >= 2 * (3 + 5)
        assert not [path for path in handler.asked if "/targets/" in path or "/views/8x6/" in path]


def test_what_was_fetched_is_read_without_a_connection_and_the_rest_is_one_clear_error(
    here: Path, cache: CacheConfig
) -> None:
    with served(here) as (url, *_):
        store = Store.open(url, cache)
        whole = store.read(EPISODE)
    assert_same(store.read(EPISODE), whole)
    with pytest.raises(DataError, match=rf"cannot fetch {url}/sizes/.*check the connection.*cache") as raised:
        store.read("sizes/variation1/seed17")
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=f"cannot fetch {url}/zarr.json"):
        Store.open(url, cache)


def test_nothing_is_kept_where_nothing_may_be(here: Path, tmp_path: Path) -> None:
    Store.open(f"file://{here}", CacheConfig(str(tmp_path / "cache"), gigabytes=0.0)).read(EPISODE)
    assert not (tmp_path / "cache").exists()


def test_an_answer_that_breaks_off_is_asked_for_again(here: Path, cache: CacheConfig) -> None:
    with served(here) as (url, handler, _):
        handler.cut_off += ["/views/16x16/rgb/c/0/0/0/0/0"]
        assert_same(Store.open(url, cache).read(EPISODE), Store.open(here).read(EPISODE))
        assert handler.cut_off == []


def test_half_a_file_that_looks_whole_is_noticed_and_not_kept(here: Path, cache: CacheConfig) -> None:
    with served(here) as (url, handler, _):
        store = Store.open(url, cache)
        handler.wrong += ["/views/16x16/rgb/c/0/0/0/0/0"]
        with pytest.raises(DataError, match=f"{url}/{EPISODE}/views/16x16/rgb.* is not what the store's index says"):
            store.read(EPISODE)
        handler.wrong.clear()
        assert_same(store.read(EPISODE), Store.open(here).read(EPISODE))


def test_a_truncated_file_of_the_cache_is_fetched_again(here: Path, cache: CacheConfig) -> None:
    store = Store.open(f"file://{here}", cache)
    whole = store.read(EPISODE)
    for path in (path for path in Path(str(cache.folder)).rglob("*") if path.is_file()):
        path.write_bytes(path.read_bytes()[:-1])
    assert_same(store.read(EPISODE), whole)


def test_an_episode_that_was_written_again_is_read_anew(here: Path, tmp_path: Path, cache: CacheConfig) -> None:
    folder = Path(shutil.copytree(here, tmp_path / "store"))
    before, unread = Store.open(f"file://{folder}", cache), Store.open(f"file://{folder}", CacheConfig(str(tmp_path)))
    old = before.read(EPISODE)
    shutil.rmtree(folder / EPISODE)
    Store.create(folder).write(made_up(seed=5), EPISODE)
    assert_same(before.read(EPISODE), old)
    with pytest.raises(DataError, match=r"is damaged|is not what the store's index says"):
        unread.read(EPISODE)
    Store.create(folder)
    assert_same(Store.open(f"file://{folder}", cache).read(EPISODE), made_up(seed=5))


def test_a_store_from_before_there_were_digests_is_read_by_its_renewed_index(
    here: Path, tmp_path: Path, cache: CacheConfig
) -> None:
    folder = Path(shutil.copytree(here, tmp_path / "store"))
    for path in folder.glob("*/*/*/zarr.json"):
        document = json.loads(path.read_text())
        del document["attributes"]["files"]
        path.write_text(json.dumps(document))
    Store.create(folder)
    assert_same(Store.open(f"file://{folder}", cache).read(EPISODE), Store.open(here).read(EPISODE))


@pytest.mark.parametrize("digest", ["../../precious", "0" * 31, 7, None])
def test_an_index_cannot_name_files_outside_the_cache(
    here: Path, tmp_path: Path, cache: CacheConfig, digest: object
) -> None:
    folder = Path(shutil.copytree(here, tmp_path / "store"))
    index = json.loads((folder / "index.json").read_text())
    files = index["episodes"][0]["files"]
    files[next(iter(files))] = digest
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"index\.json, episode .* does not describe an episode"):
        Store.open(f"file://{folder}", cache)


@pytest.mark.parametrize("lost", ["zarr.json", "index.json"])
def test_a_place_without_a_store_is_named(here: Path, tmp_path: Path, cache: CacheConfig, lost: str) -> None:
    folder = Path(shutil.copytree(here, tmp_path / "store"))
    (folder / lost).unlink()
    with pytest.raises(DataError, match=rf"store is not a store with an index: .*{lost} is not there"):
        Store.open(f"file://{folder}", cache)
    (folder / lost).write_text("{")
    with pytest.raises(DataError, match=lost):
        Store.open(f"file://{folder}", cache)


def test_nothing_is_written_behind_a_url(here: Path, cache: CacheConfig, capsys: pytest.CaptureFixture[str]) -> None:
    from data import collect, convert, export, features

    store = Store.open(f"file://{here}", cache)
    with pytest.raises(DataError, match="only read"):
        Store.create("s3://bucket/store")
    with pytest.raises(ValueError, match="opened for reading"):
        store.write(made_up(), "a")
    with pytest.raises(ValueError, match="opened for reading"):
        store.finish()
    assert convert.main([str(here.parent / "raw"), "s3://bucket/store"]) == 2
    assert export.main([str(here), "s3://bucket/recordings"]) == 2
    assert collect.main(["s3://bucket/store", "--tasks", "push_buttons", "--episodes", "1", "--seed", "1"]) == 2
    assert (
        features.main([f"file://{here}", "--teacher", "segmentation", "--channels", "4", "--projection", "none"]) == 2
    )
    said = capsys.readouterr().err
    assert "stores behind URLs are only read" in said
    assert "is behind a URL, where nothing is written" in said
    assert "export into a folder and copy it there" in said
    assert not Path("s3:").exists()


def test_what_is_missing_or_unknown_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match="pip install s3fs"):
        Store.open("s3://bucket/store")
    with pytest.raises(ConfigError, match=r"carrier-pigeon://roof cannot be opened: .*use s3://"):
        Store.open("carrier-pigeon://roof")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *((text, True) for text in ("s3://a/b", "http://h:80/x", "memory://a", "simplecache::s3://a", Path("s3://a"))),
        *((text, False) for text in ("data/stores/a", "/a", "C:/a", "a:b/c", Path("data/x"))),
    ],
)
def test_urls_are_told_from_paths(address: Path | str, expected: bool) -> None:
    assert is_url(address) is expected


def test_a_store_can_be_inspected_behind_its_url(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from data import inspect

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []
    for store in (str(here), f"file://{here}"):
        assert inspect.main([store]) == 0
        said.append(capsys.readouterr().out)
    assert said[0].partition("\n")[2] == said[1].partition("\n")[2]
    assert inspect.main([f"file://{here}", "--json"]) == 0


def test_training_streams_from_a_url(here: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http through aiohttp")
    from data.training import train

    with served(here) as (url, handler, _):
        settings = [f"data.store={url}", f"data.cache.folder={tmp_path / 'cache'}", "data.tasks=[push,lift]"]
        config = override(from_yaml(TINY), [*settings, f"run_dir={tmp_path / 'run'}", "train.steps=2"])
        near = load_split(Store.open(here), config.data, ("front",), config.policy.grid.box, progress=False)
        far = load_split(
            Store.open(url, config.data.cache), config.data, ("front",), config.policy.grid.box, progress=False
        )
        assert far.trained_on() == near.trained_on()
        for index in range(len(near.training)):
            one, other = near.training[index], far.training[index]
            assert one.instruction == other.instruction
            assert digest_of(one.observation.views["front"].rgb.tobytes()) == digest_of(
                other.observation.views["front"].rgb.tobytes()
            )
        handler.asked.clear()
        assert train(config) == tmp_path / "run"
        assert handler.asked == ["/zarr.json", "/index.json"], "all else was in the cache"
