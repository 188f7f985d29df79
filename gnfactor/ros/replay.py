"""Show a recorded run on a robot, and ask a policy again: python -m gnfactor.ros.replay LOG [--checkpoint RUN].

Leaves `report.md`, `report.json` and, where pictures were recorded, `film.webm`.
"""

from __future__ import annotations

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console

from gnfactor.agent import Agent, DeviceName, device_named
from gnfactor.checkpoint import load_policy
from gnfactor.command import Parser, run
from gnfactor.errors import ConfigError, DataError
from gnfactor.ros.log.film import FPS, film
from gnfactor.ros.log.header import weights_sha256
from gnfactor.ros.log.reader import Recording
from gnfactor.ros.log.report import RunSummary, ShadowRun, Tally, report_text, write_report
from gnfactor.ros.log.shadow import Difference, Shadow
from gnfactor.ros.log.turns import Turn, recorded_turns
from gnfactor.ros.safety import SafetyGuard
from gnfactor.video import write_video

DESCRIPTION = """\
Shows a recorded run as a film and reports what happened. With --checkpoint that policy is asked again at every recorded
observation: how far from the recorded actions are its own, where would it first have acted differently, and what would
the guard have said?

  python -m gnfactor.ros.replay runs/robot/2026-11-21T12-00-00/run.mcap
  python -m gnfactor.ros.replay runs/robot/2026-11-21T12-00-00/run.mcap --checkpoint runs/newer
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(
        prog="python -m gnfactor.ros.replay", description=DESCRIPTION, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("log", type=Path, help="file that a run left, such as run.mcap")
    parser.add_argument("--checkpoint", type=Path, help="folder of a checkpoint or of a run, to be asked again")
    parser.add_argument("--out", type=Path, help="folder for film and report (beside the log, called LOG-replay)")
    parser.add_argument("--camera", help="whose pictures are shown (the first)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the policy (auto)")

    def command(console: Console) -> int:  # noqa: ARG001 (the report goes to standard output)
        given = parser.parse_args(args)
        folder = given.out or given.log.with_name(f"{given.log.stem}-replay")
        replay(given.log, folder, given.checkpoint, given.camera, given.device)
        return 0

    return run(command, "interrupted", "name another folder with --out")


def replay(
    path: Path, folder: Path, checkpoint: Path | None = None, camera: str | None = None, device: DeviceName = "auto"
) -> tuple[RunSummary, ShadowRun | None]:
    """Read a log once; write its report and film, and print the report.

    Raises:
        ConfigError: the log has no such camera.
        DataError: the log cannot be read, holds no event, or has no pictures to ask a policy with; nothing can be
            written there.
        CheckpointError, ObservationError: the checkpoint cannot be read, or does not fit the recording.
    """
    recording = Recording(path)
    config = recording.header.config
    if camera is not None and camera not in config.cameras:
        raise ConfigError(f"--camera is {camera}; the recorded robot has {sorted(config.cameras)}")
    if checkpoint is not None and not config.log.images:
        raise DataError(f"{path} has no pictures (log.images=false), so that no policy can be asked again")
    tally, shadow = Tally(), None if checkpoint is None else _Asked(checkpoint, recording, device)

    def told() -> Iterator[Turn]:
        for turn in recorded_turns(recording):
            tally.add(turn)
            if shadow is not None:
                shadow.ask(turn)
            yield turn

    frames = film(told(), config, camera)
    first = next(frames, None)
    if first is not None:
        write_video(folder / "film.webm", chain((first,), frames), FPS)
    summary, shadow_run = tally.summary(), None if shadow is None else shadow.finish()
    write_report(folder, recording, summary, shadow_run)
    out = Console(highlight=False, markup=False, soft_wrap=True)
    out.print(report_text(recording, summary, shadow_run))
    out.print(f"{folder}: report.md, report.json" + (", film.webm" if first is not None else ""))
    return summary, shadow_run


class _Asked:
    """A checkpoint that is asked at each turn."""

    def __init__(self, checkpoint: Path, recording: Recording, device: DeviceName) -> None:
        loaded = load_policy(checkpoint)
        self._path = loaded.path
        self._shadow = Shadow(Agent(loaded.policy, device_named(device)), SafetyGuard(recording.header.config))
        self._differences: list[Difference] = []

    def ask(self, turn: Turn) -> None:
        difference = self._shadow.ask(turn)
        if difference is not None:
            self._differences.append(difference)

    def finish(self) -> ShadowRun:
        digest = weights_sha256(self._path)
        return ShadowRun(str(self._path), digest, self._shadow.resolution, tuple(self._differences))


if __name__ == "__main__":
    sys.exit(main())
