"""What converting RLBench recordings costs, how large the store is, and how fast training reads from it.

    python -m tests.benchmarks.storage --recordings DIR [--tasks 10] [--demonstrations 20] [--whole 2] [--machine NAME]
    python -m tests.benchmarks.storage --tasks 1 --demonstrations 2        # quick, from the built-in world

The recordings are a few distinct episodes under many names (links), since compression works within an episode:
those of DIR, a folder of RLBench's, or else two of the built-in world with five cameras, exported. Of each task the
first `--whole` demonstrations are also converted with all frames of all cameras. A frame is one moment, with the
pictures of all its cameras.

Appends a line to results/storage.json. Seconds are processor time, all processes together, unless a name says wall:
then other work on the machine counts, too. The published replay has 232 KB per entry (one camera), its entries are
counted for these very demonstrations.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from rich.console import Console
from torch.utils.data import DataLoader

from data.convert import ConvertConfig, convert
from data.dataset import Draw, SampleSet, Split, TaskUniformBatches, load_split
from data.demos import ReadOptions
from data.episode import EpisodeInfo
from data.export import ExportConfig, export
from data.pairs import stored_pairs
from data.pictures import read_colour, read_depth_m
from data.recordings import find_recordings
from data.store import Store
from gnfactor.actions import Box
from gnfactor.batch import Sample, collate
from gnfactor.config import CacheConfig, DataConfig
from gnfactor.demonstration import Demonstration
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.scene import CAMERAS

RESULTS = Path(__file__).parent / "results" / "storage.json"
EPISODES = "*/all_variations/episodes/*"
REPLAY_ENTRY_BYTES = 232e3
WORKERS = 2
CAMERA, SIZE = "front", (128, 128)
BOX = Box((-0.3, -0.5, 0.6), (0.7, 0.5, 1.6))
"""RLBench's workspace."""
BATCH = 16


def main() -> None:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--demonstrations", type=int, default=20)
    parser.add_argument("--whole", type=int, default=2)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--machine", default=platform.processor() or platform.machine())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = given.recordings or built_in_recordings(Path(folder) / "built_in")
        row = {
            "machine": given.machine,
            "source": "built-in world" if given.recordings is None else "recordings",
            **measure(source, Path(folder), given.tasks, given.demonstrations, given.whole, given.batches),
        }
    line = json.dumps(row)
    print(line)
    with RESULTS.open("a") as stream:
        stream.write(line + "\n")


def measure(
    source: Path, folder: Path, tasks: int, demonstrations: int, whole: int, batches: int
) -> dict[str, str | int | float]:
    """All figures, from the distinct episodes below `source`."""
    distinct = [recording.folder for recording in find_recordings(source).recordings]
    raw_all = repeat(distinct, folder / "raw_all", tasks, min(whole, demonstrations))
    raw = repeat(distinct, folder / "raw", tasks, demonstrations)
    every = timed_conversion(raw_all, folder / "all", ReadOptions())
    used = timed_conversion(raw, folder / "used", ReadOptions(cameras=(CAMERA,), frames="used"))
    entries = [replay_entries(info) for info in used.store.episodes()]
    used_bytes, replay_bytes = size_of(used.store.folder), sum(entries) * REPLAY_ENTRY_BYTES
    pictures = [path for kind in ("rgb", "depth") for path in raw_all.glob(f"{EPISODES}/*_{kind}/*.png")]
    raw_bytes, episodes = sum(path.stat().st_size for path in pictures), len(every.store.episodes())
    loader = loader_speed(used.store, batches)
    through_url = url_reading(used.store, folder / "cache")
    decoding = decoding_speed(raw, used.store, batches)
    return {
        "tasks": tasks,
        "distinct_episodes": len(distinct),
        "workers": WORKERS,
        **{f"all_{name}": value for name, value in every.figures().items()},
        "all_png_megabytes_per_episode": round(raw_bytes / episodes / 1e6, 3),
        "all_smaller_than_png": round(raw_bytes / size_of(every.store.folder), 2),
        **{f"used_{name}": value for name, value in used.figures().items()},
        "replay_entries_per_episode": round(sum(entries) / len(entries), 1),
        "replay_megabytes_per_episode": round(replay_bytes / len(entries) / 1e6, 2),
        "used_smaller_than_replay": round(replay_bytes / used_bytes, 1),
        **{f"loader_{name}": value for name, value in loader.items()},
        **{f"png_{name}": value for name, value in decoding.items()},
        **{f"url_{name}": value for name, value in through_url.items()},
    }


@dataclass(frozen=True)
class Conversion:
    """A conversion and what it cost."""

    store: Store
    recorded: int
    """Frames in the recordings."""
    processor_s: float
    wall_s: float

    def figures(self) -> dict[str, int | float]:
        infos = self.store.episodes()
        return {
            "episodes": len(infos),
            "frames_recorded": self.recorded,
            "frames_kept": sum(info.frames for info in infos),
            "megabytes_per_episode": round(size_of(self.store.folder) / len(infos) / 1e6, 3),
            "frames_per_second": round(self.recorded / self.processor_s, 1),
            "frames_per_second_wall": round(self.recorded / self.wall_s, 1),
        }


def timed_conversion(raw: Path, out: Path, options: ReadOptions) -> Conversion:
    """Convert what lies below `raw` with two workers."""
    before, began = processor_s(), time.perf_counter()
    report = convert(ConvertConfig(raw=raw, out=out, tasks=None, options=options, workers=WORKERS), Console(quiet=True))
    wall_s, seconds = time.perf_counter() - began, processor_s() - before
    assert not report.failed, report.failed
    recorded = sum(1 for _ in raw.glob(f"{EPISODES}/{CAMERA}_rgb/*.png"))
    return Conversion(Store.open(out), recorded, seconds, wall_s)


def loader_speed(store: Store, batches: int) -> dict[str, float]:
    """Samples per second of training's own loader, one process; reading the store once is told apart."""
    split, seconds = timed_split(store)
    return {"read_once_seconds": round(seconds, 2), **speed(split.training, split.training, batches)}


def url_reading(store: Store, cache: Path) -> dict[str, float]:
    """Reading the same once through a file:// URL, which no connection slows, with an empty and with a full cache."""
    seconds = [timed_split(Store.open(f"file://{store.folder}", CacheConfig(str(cache))))[1] for _ in range(2)]
    return {"read_once_seconds": round(seconds[0], 2), "read_cached_seconds": round(seconds[1], 2)}


def timed_split(store: Store) -> tuple[Split, float]:
    """What training keeps in memory, and the processor time of reading it."""
    before = processor_s()
    split = load_split(store, DataConfig(), (CAMERA,), BOX, progress=False)
    return split, processor_s() - before


def decoding_speed(raw: Path, store: Store, batches: int) -> dict[str, float]:
    """Samples per second where each sample decodes its picture anew; all else is in memory."""
    split, _ = timed_split(store)
    return speed(_Decoding(split.training, raw), split.training, batches)


class _Decoding(SampleSet):
    """The same samples, their pictures read from PNG files each time."""

    def __init__(self, samples: SampleSet, raw: Path) -> None:
        self.__dict__.update(samples.__dict__)
        self._raw = raw

    def __getitem__(self, draw: Draw | int) -> Sample:
        sample = super().__getitem__(draw)
        episode, pair = self.items[draw.sample if isinstance(draw, Draw) else draw]
        info = self.moments[episode].info
        task, _, label = info.name.split("/")
        folder = self._raw / task / "all_variations" / "episodes" / label
        file = f"{(info.frame_numbers or range(info.frames))[pair.frame]}.png"
        read_colour(folder / f"{CAMERA}_rgb" / file)
        read_depth_m(folder / f"{CAMERA}_depth" / file, 0.01, 4.5)
        return sample


def speed(samples: SampleSet, weights: SampleSet, batches: int) -> dict[str, float]:
    """Of a loader with training's batches and collation."""
    loader = DataLoader(
        samples,
        batch_sampler=TaskUniformBatches(weights, BATCH, 0),
        collate_fn=partial(collate, cameras=(CAMERA,), image_size=SIZE),
    )
    drawn = iter(loader)
    next(drawn)
    before, began = processor_s(), time.perf_counter()
    count = sum(1 for _ in islice(drawn, batches)) * BATCH
    seconds, wall_s = processor_s() - before, time.perf_counter() - began
    return {"samples_per_second": round(count / seconds, 1), "samples_per_second_wall": round(count / wall_s, 1)}


def repeat(distinct: Sequence[Path], out: Path, tasks: int, demonstrations: int) -> Path:
    """The episodes over and over, as so many demonstrations of so many tasks, without copying their files."""
    for task in range(tasks):
        episodes = out / f"task{task}" / "all_variations" / "episodes"
        episodes.mkdir(parents=True)
        for number in range(demonstrations):
            source = distinct[(task * demonstrations + number) % len(distinct)]
            (episodes / f"episode{number}").symlink_to(source)
    return out


def built_in_recordings(folder: Path) -> Path:
    """Two demonstrations of the built-in world as RLBench's folders."""
    store = Store.create(folder / "store")
    env = TabletopEnv(CAMERAS, SIZE)
    for seed, demonstration in islice(_demonstrations(env), 2):
        store.write(demonstration, f"open_drawer/variation0/seed{seed}")
    env.close()
    export(ExportConfig(folder / "store", folder / "raw"), Console(quiet=True))
    return folder / "raw"


def _demonstrations(env: TabletopEnv) -> Iterator[tuple[int, Demonstration]]:
    for seed in range(100):
        recorded = env.record(SeededScene("open_drawer", 0, seed), frames="all")
        if isinstance(recorded, Demonstration):
            yield seed, recorded


def replay_entries(info: EpisodeInfo) -> float:
    """Entries of the published replay of one demonstration."""
    return sum(pair.weight for pair in stored_pairs(info, 10, "published"))


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def processor_s() -> float:
    """Processor time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
