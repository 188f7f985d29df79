"""Our side of a robot as a process of its own: `python -m tests.ros.bridge LOG.mcap ROBOT.yaml... key=value...`.

Every line that it reads asks for one episode, in JSON, with the fields of `Request`. Every line that it writes says in
JSON what happens: {"ready": true}, then of each episode {"step": ...} after every action and {"episode": ...}, and at
its own end {"ended": why}. What moves the arm is the product's: link, guard, executor, `RobotEnv`, `rollout`; the log
of all episodes is the product's too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import rospy
import torch
from std_msgs.msg import Bool

from gnfactor.actions import Action
from gnfactor.envs.base import Capabilities, Env, LiveScene, Scene, Start, Step
from gnfactor.errors import GNFactorError
from gnfactor.rollout import describe, rollout
from gnfactor.ros.config import load
from gnfactor.ros.journal import Failed, Journal
from gnfactor.ros.links.connect import connect
from gnfactor.ros.links.journalled_link import JournalledLink
from gnfactor.ros.log.header import RunHeader
from gnfactor.ros.log.writer import RunLog
from gnfactor.ros.robot_env import RobotEnv
from tests.ros.policies import FinishedError, make_policy

SUCCESS = "/simulation/success"
_LOOK_S = 0.1
"""How long after an action somebody looks whether it was the last one."""


@dataclass(frozen=True)
class Request:
    """One episode."""

    policy: str
    """A name in `tests.ros.policies`, or the folder of a checkpoint."""
    max_steps: int
    instruction: str = "do it"


class Watched:
    """An Env beside which somebody stands who sees success, and says what happens."""

    def __init__(self, env: Env) -> None:
        self._env, self._has_succeeded = env, False
        rospy.Subscriber(SUCCESS, Bool, self._see, queue_size=1)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(seeded=False, restores_stored_scenes=False, knows_success=True)

    def reset(self, scene: Scene) -> Start:
        return self._env.reset(scene)

    def step(self, action: Action) -> Step:
        step = self._env.step(action)
        time.sleep(_LOOK_S)
        say(step=step.observation.step, refused=step.refused, blocked=step.blocked, success=self._has_succeeded)
        return replace(step, success=self._has_succeeded)

    def hold(self) -> None:
        self._env.hold()

    def close(self) -> None:
        self._env.close()

    def _see(self, message: Bool) -> None:
        self._has_succeeded = message.data


def main(args: Sequence[str]) -> int:
    """Episodes until nobody asks for one, or until Ctrl-C; the robot holds then."""
    torch.set_num_threads(1)
    config, why, status = load(args[1:]), "nobody asks for another episode", 0
    header = RunHeader(config=config, instruction="of each episode", confirm="never", started=time.strftime("%FT%T"))
    link = connect(config)
    with RunLog(Path(args[0]), header, link.now_s) as log:
        env = Watched(RobotEnv(JournalledLink(link, log), config, journal=log))
        try:
            say(ready=True)
            for line in sys.stdin:
                say(episode=_episode(env, Request(**json.loads(line)), log))
        except KeyboardInterrupt:
            why, status = "the operator's Ctrl-C", 130
            log.note(Failed(why))
        finally:
            env.close()
    say(ended=why)
    return status


def say(**words: object) -> None:
    """One line, with the time at which it was said."""
    print(json.dumps({**words, "said_s": time.time()}), flush=True)


def _episode(env: Env, request: Request, log: Journal) -> dict[str, object]:
    policy = make_policy(request.policy)
    try:
        episode = rollout(env, policy, LiveScene(request.instruction), request.max_steps)
    except FinishedError:
        return {"ending": "finished", "success": False, "reason": None}
    except GNFactorError as error:
        return {"ending": "lost", "success": False, "reason": describe(error)}
    if episode.ending == "crashed":
        log.note(Failed(str(episode.reason)))
    return {"ending": episode.ending, "success": episode.success, "reason": episode.reason, "steps": episode.steps}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
