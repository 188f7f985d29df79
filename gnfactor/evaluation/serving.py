"""One policy serves many environments: episodes run in processes of their own, which ask for actions in batches.

The policy stays in this process, so that its weights exist once. An episode depends on its scene and the policy
alone, never on the process that runs it, so that results are the same with any number of processes.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from gnfactor.actions import Action
from gnfactor.envs.base import Env, Policy, Scene, SeededScene
from gnfactor.errors import ConfigError, GNFactorError, MissingExtraError, ObservationError, SceneError
from gnfactor.evaluation.controls import CONTROLS
from gnfactor.evaluation.film import Film, film
from gnfactor.rollout import Episode, OnRefusal, crashed, describe, rollout
from gnfactor.scene import Observation

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["torch"])  # a new process, also one in place of another, then starts at once
_HOPELESS = 3
"""Episodes lost to dying processes before any episode was finished, after which the environment counts as broken."""


@dataclass(frozen=True)
class Job:
    """One episode to run."""

    scene: Scene
    max_steps: int
    on_refusal: OnRefusal
    control: str | None = None
    """Name in `CONTROLS` of what is withheld from the policy."""
    film: Film | None = None

    @property
    def counts(self) -> bool:
        """Whether its scene is as it is, nothing withheld and nothing changed."""
        return self.control is None and not (isinstance(self.scene, SeededScene) and self.scene.perturbation)


@dataclass(frozen=True)
class Venue:
    """Where episodes take place; everything in it must be picklable."""

    make_env: Callable[[], Env]
    variation_counts: Mapping[str, int]
    """Variations of each task."""


@dataclass(frozen=True, eq=False)
class _Question:
    observation: Observation
    instruction: str


@dataclass(frozen=True, eq=False)
class _Refusal:
    """The run cannot go on, by a mistake of the user."""

    error: GNFactorError


def serve(
    jobs: Sequence[Job],
    venue: Venue,
    policy: Policy,
    processes: int,
    on_episode: Callable[[Job, Episode], None] = lambda job, episode: None,  # noqa: ARG005 (names of the contract)
    silence_s: float = 600.0,
    on_question: Callable[[Job, Observation, str], None] = lambda job, observation, instruction: None,  # noqa: ARG005
) -> list[Episode]:
    """Run every job's episode and return them in the order of the jobs.

    An exception of the environment is a failed episode with its reason. A process that dies, or says nothing for
    `silence_s`, is replaced and its episode repeated once. With these the environment is made anew.

    Args:
        jobs: what to run.
        venue: how each process makes its environment.
        policy: answers in this process.
        processes: environments at work at once.
        on_episode: told of each episode when it is over, in the order in which they end.
        silence_s: patience with one action of an environment.
        on_question: told of every observation, with its instruction, for which an action is asked.

    Raises:
        GNFactorError: the environment cannot be made here (a missing extra, a wrong option).
        SceneError: no episode can be finished since the processes keep dying.
    """
    waiting = deque(enumerate(jobs))
    episodes: dict[int, Episode] = {}
    crew = [_Worker(index, venue) for index in range(min(processes, len(jobs)))]
    lost = 0
    try:
        for worker in crew:
            worker.take(waiting, policy)
        while any(worker.job for worker in crew):
            questions: list[tuple[_Worker, _Question]] = []
            for worker, message in _hear(crew, silence_s):
                job = worker.job
                assert job is not None
                if isinstance(message, _Question):
                    on_question(job, message.observation, message.instruction)
                    questions.append((worker, message))
                    continue
                if isinstance(message, _Refusal):
                    raise message.error
                episode = message if isinstance(message, Episode) else worker.replace()
                if episode is None:
                    worker.give(job, policy)
                    continue
                lost += message is None
                if lost >= _HOPELESS and lost > len(episodes):
                    raise SceneError(f"no episode was finished in {lost} attempts, each made twice: {episode.reason}")
                episodes[worker.number] = episode
                on_episode(job, episode)
                worker.take(waiting, policy)
            _answer(policy, questions)
    finally:
        for worker in crew:
            worker.stop()
    return [episodes[number] for number in range(len(jobs))]


class _Worker:
    """A process with an environment of its own, and what it is doing."""

    def __init__(self, index: int, venue: Venue) -> None:
        self.index = index
        self.number = 0
        """Place of the job among all."""
        self.job: Job | None = None
        self.heard_at = time.monotonic()
        self._venue = venue
        self._died = False
        self._start()

    def _start(self) -> None:
        self.connection, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_work, args=(theirs, self._venue), daemon=True)
        self._process.start()
        theirs.close()

    def take(self, waiting: deque[tuple[int, Job]], policy: Policy) -> None:
        """Begin the next waiting job, or rest."""
        self.job, self._died = None, False
        if waiting:
            self.number, job = waiting.popleft()
            self.give(job, policy)

    def give(self, job: Job, policy: Policy) -> None:
        """Begin a job."""
        policy.reset(self.index)
        self.job = job
        self.send(job)

    def send(self, message: object) -> None:
        """Tell the process something; if it is dead, that is noticed where it is next heard."""
        self.heard_at = time.monotonic()
        try:
            self.connection.send(message)
        except OSError:
            return

    def replace(self) -> Episode | None:
        """Start a new process in place of a dead one; None if its episode deserves another attempt."""
        reason = self._post_mortem()
        self._start()
        job, first = self.job, not self._died
        self._died = True
        assert job is not None
        return None if first else crashed(job.scene, "", 0, reason, repeated=True)

    def finished(self, episode: Episode) -> Episode:
        """The episode, marked if it needed a second attempt."""
        return replace(episode, repeated=True) if self._died else episode

    def stop(self) -> None:
        """Let the process go, gently first."""
        self.send(None)
        self.connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _post_mortem(self) -> str:
        self._process.join(5)  # a dead process takes a moment to be gone; a silent one does not go by itself
        silent = self._process.is_alive()
        if silent:
            self._process.kill()
            self._process.join()
        self.connection.close()
        code = self._process.exitcode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        return f"the environment's process {'fell silent and was ended' if silent else f'ended {how}'}"


def _hear(crew: Sequence[_Worker], silence_s: float) -> list[tuple[_Worker, Any]]:
    """What busy workers say, waiting for at least one; None stands for a worker that is dead or silent too long."""
    busy = [worker for worker in crew if worker.job]
    patience = min(worker.heard_at for worker in busy) + silence_s - time.monotonic()
    heard: list[tuple[_Worker, Any]] = []
    ready = set(wait([worker.connection for worker in busy], max(patience, 0)))
    for worker in busy:
        if worker.connection not in ready:
            if time.monotonic() - worker.heard_at > silence_s:
                heard.append((worker, None))
            continue
        worker.heard_at = time.monotonic()
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            message = None
        heard.append((worker, worker.finished(message) if isinstance(message, Episode) else message))
    return heard


def _answer(policy: Policy, questions: Sequence[tuple[_Worker, _Question]]) -> None:
    """Answer all questions at once; one that cannot be answered spoils its own episode only."""
    if not questions:
        return
    try:
        actions = policy.act(
            [asked.observation for _, asked in questions], [asked.instruction for _, asked in questions]
        )
    except ObservationError as error:
        if len(questions) == 1:
            questions[0][0].send(error)
        else:
            for question in questions:
                _answer(policy, [question])
        return
    for (worker, _), action in zip(questions, actions, strict=True):
        worker.send(action)


class _Asking:
    """The policy as seen from a worker: asks the process that holds it."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self.asked = 0
        self.instruction = ""

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        actions: list[Action] = []
        for observation, instruction in zip(observations, instructions, strict=True):
            self.asked, self.instruction = self.asked + 1, instruction
            self._connection.send(_Question(observation, instruction))
            answer = self._connection.recv()
            if isinstance(answer, ObservationError):
                raise answer
            actions.append(answer)
        return actions

    def reset(self, index: int) -> None:
        """The serving process has done so."""


def _work(connection: Connection[Any, Any], venue: Venue) -> None:
    """A worker's life: episodes until it is told to stop, or the serving process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the serving process, which stops its workers
    torch.set_num_threads(1)
    env: Env | None = None
    try:
        while (job := connection.recv()) is not None:
            env = env or venue.make_env()
            episode = _perform(env, venue, _Asking(connection), job)
            if episode.ending == "crashed":  # whatever is wrong with it must not reach the next episode
                with suppress(Exception):
                    env.close()
                env = None
            connection.send(episode)
    except (EOFError, BrokenPipeError):
        return
    except GNFactorError as error:
        connection.send(_Refusal(error))
    finally:
        if env is not None:
            env.close()


def _perform(env: Env, venue: Venue, policy: _Asking, job: Job) -> Episode:
    world = env if job.control is None else CONTROLS[job.control](env, venue.variation_counts)
    try:
        if job.film is None:
            return rollout(world, policy, job.scene, job.max_steps, job.on_refusal)
        return film(env, job.film, lambda: rollout(world, policy, job.scene, job.max_steps, job.on_refusal))
    except (EOFError, BrokenPipeError, ConfigError, MissingExtraError):
        raise
    except Exception as error:
        return crashed(job.scene, policy.instruction, policy.asked, describe(error))
