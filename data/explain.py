"""Draw where a policy wants to go from a moment of a demonstration, and what speaks for it.

python -m data.explain CHECKPOINT STORE
python -m data.explain CHECKPOINT STORE --episode open_drawer/variation0/seed7 --keyframe 2 --out picture.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.console import Console

from data.episode import EpisodeInfo
from data.pairs import keyframe_pairs
from data.store import Store
from gnfactor.checkpoint import FOLDER, LoadedPolicy, load_policy
from gnfactor.command import Parser, run
from gnfactor.errors import ConfigError, DataError
from gnfactor.evaluation.explain import explain
from gnfactor.scene import ARM


def choose_episode(store: Store, name: str | None, loaded: LoadedPolicy) -> EpisodeInfo:
    """The episode of this name; without one the first that the policy was kept from, or else the store's first.

    Raises:
        DataError: there is none.
    """
    episodes = {info.name: info for info in store.episodes()}
    if not episodes:
        raise DataError(f"{store.path} has no episodes; collect or convert some first")
    held_out = () if loaded.info.trained_on is None else loaded.info.trained_on.held_out
    chosen = name or next((known for known in held_out if known in episodes), next(iter(episodes)))
    if chosen not in episodes:
        raise DataError(f"{store.path} has no episode '{chosen}'; `python -m data.inspect {store.path}` lists them")
    return episodes[chosen]


def explain_keyframe(
    loaded: LoadedPolicy, store: Store, info: EpisodeInfo, keyframe: int, instruction: str | None, out: Path
) -> str:
    """Draw the decision that should lead to a keyframe of an episode, counted from 1; returns what it found, in words.

    Raises:
        GNFactorError: the episode has no such keyframe, or the policy cannot use it.
    """
    count = len(info.keyframes)
    if not 1 <= keyframe <= count:
        raise ConfigError(f"--keyframe is {keyframe}; '{info.name}' has keyframes 1 to {count}")
    pair = keyframe_pairs(info.keyframes)[keyframe - 1]
    cameras = loaded.config.policy.cameras
    absent = [camera for camera in cameras if camera not in info.cameras]
    if absent:
        raise DataError(
            f"'{info.name}' was recorded by {list(info.cameras)}, and the policy looks through {absent} too; name a "
            "store with all of its cameras"
        )
    part = store.read(info.name, [pair.frame, pair.keyframe], cameras)
    observation, target = part.observations
    said = instruction or info.instructions[0]
    target_m = target.arms[ARM].world_from_gripper[:3, 3]
    decision = explain(loaded.policy, observation, said, out, target_m)
    away_m = float(sum((decision.position_m - target_m) ** 2) ** 0.5)
    return f"{info.name}, keyframe {keyframe} of {count}, '{said}': chosen {1000 * away_m:.0f} mm from it"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 done, 2 wrong use or damaged files."""
    parser = Parser(prog="python -m data.explain", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path, help="run folder or checkpoint folder")
    parser.add_argument("store", help="folder of the store, or its URL")
    parser.add_argument("--episode", help="its name in the store; else the first that the policy was kept from")
    parser.add_argument("--keyframe", type=int, default=1, help="the decision that leads to it, counted from 1")
    parser.add_argument("--instruction", help="what to tell the policy instead of the episode's own words")
    parser.add_argument("--out", type=Path, help="the PNG; else RUN/explain/EPISODE_keyframeK.png")
    parser.add_argument("--select", choices=["last", "validation"], default="last", help="which checkpoint of a run")

    def command(console: Console) -> int:  # noqa: ARG001 (there is nothing to say but the result)
        given = parser.parse_args(arguments)
        store = Store.open(str(given.store))
        loaded = load_policy(cast("Path", given.checkpoint), given.select)
        info = choose_episode(store, given.episode, loaded)
        keyframe = cast("int", given.keyframe)
        out = cast("Path | None", given.out) or _default_path(loaded.path, info, keyframe)
        if out.suffix != ".png":
            raise ConfigError(f"--out is {out}; its name has to end in .png")
        print(explain_keyframe(loaded, store, info, keyframe, given.instruction, out))
        print(f"{out} written")
        return 0

    return run(command, "interrupted; no picture was written")


def _default_path(checkpoint: Path, info: EpisodeInfo, keyframe: int) -> Path:
    run_dir = checkpoint.parent.parent if checkpoint.parent.name == FOLDER else checkpoint.parent
    return run_dir / "explain" / f"{info.name.replace('/', '_')}_keyframe{keyframe}.png"


if __name__ == "__main__":
    sys.exit(main())
