"""The store: what is written comes back, and nothing but whole episodes is ever seen."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import assert_same, made_up

from data.arrays import depth_from_units, units_from_depth
from data.store import Store, episode_name, natural
from gnfactor.demonstration import Demonstration
from gnfactor.errors import DataError
from gnfactor.scene import Observation, View

SLOW_DISK = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def part_of(
    whole: Demonstration, frames: list[int], cameras: list[str], targets: list[str] | tuple[str, ...] = ()
) -> Demonstration:
    """What reading some frames, cameras and views to learn from should give, the slow way."""
    return replace(
        whole,
        observations=tuple(
            replace(whole.observations[frame], views={name: whole.observations[frame].views[name] for name in cameras})
            for frame in frames
        ),
        ignore_collisions=tuple(whole.ignore_collisions[frame] for frame in frames),
        keyframes=tuple(frames.index(frame) for frame in whole.keyframes if frame in frames),
        target_views={
            position: {name: whole.target_views[frame][name] for name in targets}
            for position, frame in enumerate(frames)
            if targets and frame in whole.target_views
        },
        frame_numbers=() if len(frames) == len(whole.observations) else tuple(frames),
    )


@SLOW_DISK
@given(data=st.data(), frames=st.integers(2, 20), labels=st.booleans(), seed=st.integers(0, 99))
def test_any_part_of_what_is_written_reads_back_the_same(
    tmp_path: Path, data: st.DataObject, frames: int, labels: bool, seed: int
) -> None:
    sizes = data.draw(st.lists(st.sampled_from([(8, 6), (5, 5), (7, 3)]), min_size=1, max_size=4))
    keyframes = tuple(sorted({frames - 1, *data.draw(st.sets(st.integers(1, frames - 1)))}))
    whole = made_up(frames, {f"camera{i}": size for i, size in enumerate(sizes)}, keyframes, labels, seed)
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    store = Store.create(tmp_path / "store")
    store.write(whole, "a/b")
    assert_same(store.read("a/b"), whole)
    some = sorted(data.draw(st.sets(st.integers(0, frames - 1), min_size=1)))
    names = data.draw(st.lists(st.sampled_from(sorted(whole.observations[0].views)), unique=True))
    assert_same(store.read("a/b", some, names), part_of(whole, some, names))


@SLOW_DISK
@given(data=st.data(), frames=st.integers(2, 20), labels=st.booleans())
def test_any_of_the_views_to_learn_from_read_back_the_same(
    tmp_path: Path, data: st.DataObject, frames: int, labels: bool
) -> None:
    sizes = data.draw(st.lists(st.sampled_from([(8, 6), (5, 5), (7, 3)]), min_size=1, max_size=5))
    targets = {f"rig{i}": size for i, size in enumerate(sizes)}
    seen = tuple(sorted(data.draw(st.sets(st.integers(0, frames - 1), min_size=1))))
    whole = made_up(frames, {"front": (8, 6)}, (frames - 1,), labels, 0, targets, seen)
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    store = Store.create(tmp_path / "store")
    store.write(whole, "a/b")
    every = list(range(frames))
    assert_same(store.read("a/b", target_views=None), whole)
    assert_same(store.read("a/b"), part_of(whole, every, ["front"]))
    some = sorted(data.draw(st.sets(st.integers(0, frames - 1), min_size=1)))
    names = data.draw(st.lists(st.sampled_from(sorted(targets)), unique=True))
    assert_same(store.read("a/b", some, (), names), part_of(whole, some, [], names))


@given(st.floats(0.00005, 6.5535))
def test_depth_is_rounded_by_at_most_half_a_unit(depth_m: float) -> None:
    back = depth_from_units(units_from_depth(np.array([depth_m])))
    assert abs(float(back[0]) - depth_m) <= 0.0505e-3


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, -np.inf, 6.5537, 1e9])
def test_what_is_no_reading_or_does_not_fit_becomes_no_reading(value: float) -> None:
    assert units_from_depth(np.array([value])) == 0


def test_the_listing_says_all_about_an_episode_in_natural_order(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    for seed in (10, 9):
        store.write(replace(made_up(), seed=seed), episode_name("open_drawer", 1, f"seed{seed}"))
    first, second = Store.open(tmp_path).episodes()
    assert (first.name, second.name) == ("open_drawer/variation1/seed9", "open_drawer/variation1/seed10")
    assert (first.task, first.variation, first.seed, first.renderer) == ("open_drawer", 1, 9, "mujoco-ray")
    assert (first.frames, first.keyframes, first.cameras) == (5, (2, 4), ("front", "wrist"))
    assert first.instructions == ("öffne die mittlere Schublade", "pull")
    assert "open_drawer/variation1/seed9" in store
    assert "open_drawer/variation1/seed8" not in store
    assert "open_drawer/variation1" not in store


def test_the_store_is_plain_zarr(tmp_path: Path) -> None:
    import zarr

    store = Store.create(tmp_path)
    whole = made_up(20, keyframes=(19,))
    store.write(whole, "t/variation0/seed1")
    root = zarr.open_group(str(tmp_path), mode="r", zarr_format=3)
    rgb = root["t/variation0/seed1/views/8x6/rgb"]
    assert isinstance(rgb, zarr.Array)
    assert (rgb.shape, rgb.chunks, rgb.shards) == ((2, 20, 6, 8, 3), (1, 8, 6, 8, 3), (2, 24, 6, 8, 3))
    np.testing.assert_array_equal(rgb[1, 7], whole.observations[7].views["wrist"].rgb)
    assert root["t/variation0/seed1"].attrs["depth_unit_m"] == 1e-4


RIG = {"rig0": (8, 6), "rig1": (8, 6), "rig2": (5, 5)}


def made_up_rig() -> Demonstration:
    """With labels, and views to learn from at some frames."""
    return made_up(labels=True, targets=RIG, target_frames=(0, 2, 4))


def test_views_to_learn_from_are_plain_zarr_in_one_shard_and_described(tmp_path: Path) -> None:
    import zarr

    store = Store.create(tmp_path)
    store.write(made_up_rig(), "t/a")
    (info,) = Store.open(tmp_path).episodes()
    assert [(view.name, view.width, view.height) for view in info.target_views] == [(n, *RIG[n]) for n in RIG]
    assert (info.target_frames, info.labels) == ((0, 2, 4), {3: "button", 12: "plate/0"})
    rgb = zarr.open_group(str(tmp_path), mode="r", zarr_format=3)["t/a/targets/8x6/rgb"]
    assert isinstance(rgb, zarr.Array)
    assert (rgb.shape, rgb.chunks, rgb.shards) == ((2, 3, 6, 8, 3), (1, 3, 6, 8, 3), (2, 3, 6, 8, 3))
    np.testing.assert_array_equal(rgb[1, 2], made_up_rig().target_views[4]["rig1"].rgb)


def test_views_to_learn_from_are_not_touched_unless_asked_for(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    store.write(made_up_rig(), "a")
    shutil.rmtree(tmp_path / "a/targets/8x6")
    assert_same(store.read("a"), part_of(made_up_rig(), [0, 1, 2, 3, 4], ["front", "wrist"]))
    assert_same(store.read("a", [1], ["wrist"], None), part_of(made_up_rig(), [1], ["wrist"], list(RIG)))
    assert_same(store.read("a", [2], [], ["rig2"]), part_of(made_up_rig(), [2], [], ["rig2"]))
    with pytest.raises(DataError, match="damaged"):
        store.read("a", [2], [], ["rig0"])


def test_an_episode_from_before_there_were_such_views_stays_readable(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    store.write(made_up(), "a")
    metadata = tmp_path / "a/zarr.json"
    document = json.loads(metadata.read_text())
    for key in ("target_views", "target_frames", "labels"):
        del document["attributes"][key]
    metadata.write_text(json.dumps(document))
    assert_same(store.read("a", target_views=None), made_up())


def test_the_index_is_written_last_and_mended_when_it_disagrees(tmp_path: Path) -> None:
    def indexed() -> list[str]:
        return [episode["name"] for episode in json.loads((tmp_path / "index.json").read_text())["episodes"]]

    store = Store.create(tmp_path)
    store.write(made_up(), "a")
    assert indexed() == []
    store.finish()
    assert indexed() == ["a"]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert [info.name for info in Store.open(tmp_path).episodes()] == ["a", "b"]
    assert indexed() == ["a"], "opening for reading changes nothing"
    Store.create(tmp_path)
    assert indexed() == ["a", "b"]
    (tmp_path / "index.json").write_text("{")
    Store.create(tmp_path)
    assert indexed() == ["a", "b"]


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    store.write(made_up(seed=1), "a/b")
    for name in ("a/b", "a/b/c", "a"):
        with pytest.raises(DataError):
            store.write(made_up(seed=2), name)
    assert_same(store.read("a/b"), made_up(seed=1))
    assert [info.name for info in store.episodes()] == ["a/b"]


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", ".a", "a//b", "a b", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot be the name"):
        Store.create(tmp_path / "store").write(made_up(), name)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a store"):
        Store.open(tmp_path / "nowhere")
    store = Store.create(tmp_path)
    store.write(made_up(), "a")
    with pytest.raises(DataError, match="no episode 'b'"):
        store.read("b")
    with pytest.raises(DataError, match="overhead"):
        store.read("a", cameras=["overhead"])
    with pytest.raises(DataError, match=r"views to learn from \[\], but \['rig7'\]"):
        store.read("a", target_views=["rig7"])
    for frames in ([], [5], [-1], [1, 1], [2, 1]):
        with pytest.raises(ValueError, match="frames have to be increasing"):
            store.read("a", frames=frames)


def test_a_store_opened_for_reading_is_not_written(tmp_path: Path) -> None:
    Store.create(tmp_path)
    with pytest.raises(ValueError, match="opened for reading"):
        Store.open(tmp_path).write(made_up(), "a")
    with pytest.raises(ValueError, match="opened for reading"):
        Store.open(tmp_path).finish()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"thesis\.tex"):
        Store.create(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("folder", [".", "a"])
def test_another_schema_version_is_refused_with_both_numbers(tmp_path: Path, folder: str) -> None:
    Store.create(tmp_path).write(made_up(), "a")
    metadata = tmp_path / folder / "zarr.json"
    document = json.loads(metadata.read_text())
    document["attributes"]["schema"] = 99
    metadata.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"version 99.*version 1"):
        Store.open(tmp_path).episodes()


def test_a_lost_or_damaged_file_is_an_error_and_not_a_black_picture(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    store.write(made_up_rig(), "a")
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 40
    for path in files:
        if path.parent == tmp_path / "a" or path.name != "zarr.json":
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            with pytest.raises(DataError, match=str(tmp_path)):
                store.read("a", target_views=None)
            path.unlink()
            with pytest.raises(DataError, match=str(tmp_path)):
                store.read("a", target_views=None)
            path.write_bytes(content)
    assert_same(store.read("a", target_views=None), made_up_rig())


def unwhole() -> dict[str, Demonstration]:
    """Demonstrations with one thing wrong, by what is wrong."""
    good = made_up()
    last = good.observations[-1]
    arm, view = last.arms["right"], last.views["front"]

    def ending(observation: Observation) -> Demonstration:
        return replace(good, observations=(*good.observations[:-1], observation))

    def seeing(changed: View) -> Demonstration:
        return ending(replace(last, views={**last.views, "front": changed}))

    return {
        "no frames": replace(good, observations=()),
        "flags": replace(good, ignore_collisions=(True,)),
        "keyframes": replace(good, keyframes=(2, 3)),
        "keyframes have to": replace(good, keyframes=(0, 4)),
        "instruction": replace(good, instructions=(" ",)),
        "no camera": replace(good, observations=tuple(replace(seen, views={}) for seen in good.observations)),
        "frame 4: has": ending(replace(last, views={"front": view})),
        "not finite": ending(replace(last, arms={"right": replace(arm, world_from_gripper=np.full((4, 4), np.nan))})),
        "changes its size": seeing(replace(view, camera=replace(view.camera, width=9))),
        "are not 8x6": seeing(replace(view, rgb=view.rgb[:-1], depth_m=view.depth_m[:-1])),
        "pose or intrinsics": seeing(replace(view, camera=replace(view.camera, intrinsics=np.full((3, 3), np.inf)))),
        "names of cameras and": replace(good, target_views={0: {"front": view}}),
        "at frame 5, but 5 frames": replace(good, target_views={5: {"rig0": view}}),
        "frame 2: views to learn from": replace(good, target_views={0: {"rig0": view}, 2: {"rig1": view}}),
        "frame 0: views to learn from": replace(good, target_views={0: {}}),
        "frame 4: camera 'rig0' has a pose": replace(
            good, target_views={4: {"rig0": replace(view, camera=replace(view.camera, intrinsics=np.eye(3) * np.nan))}}
        ),
        "have the numbers": replace(good, frame_numbers=(0, 2, 2, 3, 9)),
        "frames have the numbers": replace(good, frame_numbers=(0, 1)),
        "in some frames only": seeing(replace(view, segmentation=np.zeros((6, 8), np.int32))),
    }


def test_a_lost_group_file_hides_no_episode(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    store.write(made_up(seed=1), "task/variation0/seed1")
    (tmp_path / "store/task/zarr.json").unlink()
    assert [info.name for info in Store.open(tmp_path / "store").episodes()] == ["task/variation0/seed1"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("frame_numbers", [0, 1]), ("frame_numbers", [0, 1, 2, 4, 3]), ("files", {"../a": "0" * 32})),
        *(("frames", "many"), ("keyframes", [5000]), ("instructions", []), ("task", None), ("variation", "q")),
        *(("target_frames", [5]), ("target_frames", [2, 0]), ("target_views", [{"name": "rig0"}]), ("labels", ["a"])),
    ],
)
def test_attributes_that_cannot_be_true_are_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    store = Store.create(tmp_path / "store")
    store.write(made_up(seed=1), "task/variation0/seed1")
    path = tmp_path / "store/task/variation0/seed1/zarr.json"
    metadata = json.loads(path.read_text())
    metadata["attributes"][key] = value
    path.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match=r"seed1/zarr\.json"):
        Store.open(tmp_path / "store").episodes()


@pytest.mark.parametrize("wrong", unwhole())
def test_a_demonstration_that_is_not_whole_is_refused(tmp_path: Path, wrong: str) -> None:
    store = Store.create(tmp_path)
    with pytest.raises(DataError, match=wrong):
        store.write(unwhole()[wrong], "a")
    assert store.episodes() == []


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = made_up(labels=True)
    for label in (-1, 65536):
        for seen in good.observations:
            labels = seen.views["front"].segmentation
            assert labels is not None
            labels[0, 0] = label
        with pytest.raises(DataError, match="labels"):
            Store.create(tmp_path).write(good, "a")


def test_a_full_disk_leaves_nothing_of_the_episode(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    store.write(made_up(seed=1), "t/a")
    program = (
        "import resource, sys; sys.path[:0] = ['.', 'tests']\n"
        "from made_up import made_up\nfrom data.store import Store\n"
        f"store = Store.create({str(tmp_path)!r}); resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "store.write(made_up(40, keyframes=(39,)), 't/b')"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert "DataError: cannot write" in done.stderr
    assert [info.name for info in Store.open(tmp_path).episodes()] == ["t/a"]
    assert sorted(entry.name for entry in (tmp_path / "t").iterdir()) == ["a", "zarr.json"]
    assert list((tmp_path / ".writing").iterdir()) == []


WRITER = """
import sys; sys.path[:0] = ['.', 'tests']
from made_up import made_up
from data.store import Store
store = Store.create(sys.argv[1])
whole = made_up(16, {'front': (64, 64)}, (15,))
print('ready', flush=True)
number = 0
while True:
    if f't/{sys.argv[2]}{number}' not in store:
        store.write(whole, f't/{sys.argv[2]}{number}')
        print(number, flush=True)
    number += 1
"""


def start_writer(store: Path, letter: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(store), letter], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_killed_writers_leave_a_store_that_opens_and_continues(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = made_up(16, {"front": (64, 64)}, (15,))
    remnants = 0
    for _ in range(3):
        writers = [start_writer(tmp_path, letter) for letter in "ab"]
        time.sleep(rng.uniform(0.1, 0.6))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        reported = sum(len(writer.communicate()[0].split()) for writer in writers)
        remnants += sum(entry.is_dir() for entry in (tmp_path / ".writing").iterdir())
        episodes = Store.open(tmp_path).episodes()
        assert len(episodes) >= reported
        for info in episodes:
            assert_same(Store.open(tmp_path).read(info.name), whole)
        Store.create(tmp_path)
        assert list((tmp_path / ".writing").iterdir()) == []
    assert remnants > 0, "no kill fell into a write: the test shows nothing"
    Store.create(tmp_path).write(whole, "t/after")
    assert "t/after" in Store.open(tmp_path)


def test_opening_for_writing_leaves_living_writers_alone(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, "a")
    try:
        assert writer.stdout is not None
        for _ in range(20):
            Store.create(tmp_path)
        numbers = [int(writer.stdout.readline()) for _ in range(5)]
        assert numbers == [0, 1, 2, 3, 4]
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["episode10", "episode9", "b", "a2c", "a10c", "7"]
    assert sorted(names, key=natural) == ["7", "a2c", "a10c", "b", "episode9", "episode10"]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make a store"):
        Store.create(tmp_path / "file" / "store")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
