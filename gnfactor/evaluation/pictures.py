"""What people look at after an evaluation: films of episodes, and pictures of first decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from gnfactor.envs.base import Policy, SeededScene, StoredScene, TaskScene
from gnfactor.errors import GNFactorError, ObservationError
from gnfactor.evaluation.film import Film
from gnfactor.evaluation.report import EpisodeRecord, Explained, Video
from gnfactor.evaluation.running import run
from gnfactor.evaluation.serving import Job, Venue
from gnfactor.evaluation.settings import EvaluateConfig
from gnfactor.rollout import describe
from gnfactor.scene import Observation

Explain = Callable[[Observation, str, Path], object]
"""Draws, as a PNG, what a policy makes of an observation and an instruction."""


def film_episodes(
    config: EvaluateConfig,
    scenes: Sequence[TaskScene],
    records: Sequence[EpisodeRecord],
    venue: Venue,
    policy: Policy,
    camera: str,
    folder: Path,
    console: Console,
) -> tuple[Video, ...]:
    """Run the first success and the first failure of each task again and film them.

    A video is called after what was filmed, which may differ from what was counted where the policy runs on a GPU.
    """
    chosen: dict[tuple[str, bool], TaskScene] = {}
    for scene, record in zip(scenes, records, strict=True):
        if record.ending != "crashed":
            chosen.setdefault((record.task, record.success), scene)
    jobs: list[tuple[Job, Film]] = []
    for scene in chosen.values():
        name = f"{scene.task}_seed{scene.seed}" if isinstance(scene, SeededScene) else scene.demonstration
        path = folder / "videos" / f"{name.replace('/', '_')}.webm"
        if path.is_file():  # of an evaluation that was killed
            path.unlink()
        how = Film(path, camera)
        jobs.append((Job(scene, config.max_steps, config.on_refusal, film=how), how))
    episodes = run([job for job, _ in jobs], venue, policy, config.processes, console, "filming")
    videos: dict[str, Video] = {}
    for (task, expected), (_, how), episode in zip(chosen, jobs, episodes, strict=True):
        success = episode.success is True
        video = Video(task, success, f"videos/{task}_{'success' if success else 'failure'}.webm")
        if not how.path.is_file():
            why = episode.reason or "nothing moved, so that there was nothing to see"
            console.print(f"no video {how.path.stem}: {why}", markup=False, soft_wrap=True)
        elif video.path in videos:
            how.path.unlink()
            word = "success" if expected else "failure"
            console.print(f"no video of a {word} of {task}: filmed, it was none", markup=False, soft_wrap=True)
        else:
            how.path.replace(folder / video.path)
            videos[video.path] = video
    return tuple(videos.values())


class Starts:
    """What the policy sees and is told first in the first scene of each task; kept as the episodes run."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._first: dict[str, Job] = {}
        for job in jobs:
            if isinstance(job.scene, (SeededScene, StoredScene)):
                self._first.setdefault(job.scene.task, job)
        self._kept: dict[str, tuple[Observation, str]] = {}

    def keep(self, job: Job, observation: Observation, instruction: str) -> None:
        """Remember a question if it is the first of a task."""
        for task, first in self._first.items():
            if job is first:
                self._kept.setdefault(task, (observation, instruction))

    def by_task(self) -> dict[str, tuple[Observation, str] | None]:
        """Observation and instruction; None where the scene was never seen."""
        return {task: self._kept.get(task) for task in self._first}


def draw_decisions(starts: Starts, explain: Explain, folder: Path, console: Console) -> tuple[Explained, ...]:
    """Draw the decisions, as far as they can be drawn: no evaluation is lost for want of a picture."""
    drawn: list[Explained] = []
    for task, start in starts.by_task().items():
        path = f"explain/{task}.png"
        try:
            if start is None:
                raise ObservationError("its first scene was never seen")
            explain(*start, folder / path)
        except (GNFactorError, RuntimeError, MemoryError) as error:  # torch has RuntimeErrors for want of memory
            why = f"no picture of a decision in {task}: {describe(error)}"
            console.print(why, markup=False, highlight=False, soft_wrap=True)
        else:
            drawn.append(Explained(task, start[1], path))
    return tuple(drawn)
