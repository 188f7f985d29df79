"""Episodes in processes, with a bar that says how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gnfactor.envs.base import Policy
from gnfactor.evaluation.serving import Job, Venue, serve
from gnfactor.rollout import Episode
from gnfactor.scene import Observation


def run(
    jobs: Sequence[Job],
    venue: Venue,
    policy: Policy,
    processes: int,
    console: Console,
    title: str,
    on_question: Callable[[Job, Observation, str], None] = lambda job, observation, instruction: None,  # noqa: ARG005
) -> list[Episode]:
    """The jobs' episodes, with a bar on a terminal and some ten lines elsewhere."""
    started_s, done, successes = time.monotonic(), 0, 0
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[successes]} succeeded"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

    def count(job: Job, episode: Episode) -> None:
        nonlocal done, successes
        done += 1
        successes += episode.success is True and job.counts
        bar.update(line, completed=done, successes=successes)
        if bar.disable and (done == len(jobs) or done % -(-len(jobs) // 10) == 0):
            left_s = (time.monotonic() - started_s) / done * (len(jobs) - done)
            console.print(f"{title}: {done}/{len(jobs)} episodes, {left_s:.0f} s left", highlight=False)

    with bar:
        line = bar.add_task(title, total=len(jobs), successes=0)
        return serve(jobs, venue, policy, processes, count, on_question=on_question)
