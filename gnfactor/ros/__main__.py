"""Run a checkpoint on a robot: python -m gnfactor.ros CHECKPOINT --config ROBOT.yaml "INSTRUCTION"."""

from __future__ import annotations

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import get_args

from rich.console import Console

from gnfactor.command import Parser, run
from gnfactor.errors import ConfigError
from gnfactor.ros.session.operator import Confirm, typed

DESCRIPTION = """\
Observes, asks the policy, asks the guard, shows what would happen, asks the operator, moves; until the policy or the
operator says that the task is done. Keep a hand at the robot's stop.

  python -m gnfactor.ros runs/lab --config configs/robot/franka_ros.yaml --dry-run "open the top drawer"
  python -m gnfactor.ros runs/lab --config my_robot.yaml executor.speed_m_s=0.05 "open the top drawer"

The policy must have been trained with the robot's cameras: runs/lab with policy.cameras=[front], the one camera of the
shipped files (docs/robot.md, section 9); runs/demo, of the built-in world, needs three.

Exit status: 0 the task was said to be done, 1 it was not, 2 a mistake that the message explains, 130 interrupted.
"""
INTERRUPTED = "interrupted; where anything had been sent to the robot, it was told to hold"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(prog="python -m gnfactor.ros", description=DESCRIPTION, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder of a checkpoint or of a run")
    parser.add_argument(
        "words", nargs="+", metavar="[key=value ...] INSTRUCTION", help="settings; what to do, in quotes"
    )
    parser.add_argument(
        "--config", action="append", required=True, metavar="ROBOT.yaml", help="of the robot; repeatable"
    )
    parser.add_argument("--confirm", choices=get_args(Confirm), default="each", help="motions to ask about (each)")
    parser.add_argument("--dry-run", action="store_true", help="send nothing; say what would be sent")
    parser.add_argument("--max-steps", type=int, default=25, help="actions after which the run is over (25)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the policy (auto)")
    parser.add_argument("--out", type=Path, help="folder for log and pictures (one by the time in log.folder)")
    parser.add_argument("--accept-calibration", metavar="NAME", help="who answers for cameras that were not checked")

    def command(console: Console) -> int:  # noqa: ARG001 (this speaks to the operator, on standard output)
        from gnfactor.ros.config import load  # noqa: PLC0415 (a typo waits for none of these)
        from gnfactor.ros.session.deploy import deploy, new_folder  # noqa: PLC0415
        from gnfactor.ros.session.session import Order, Terminal  # noqa: PLC0415

        given = parser.parse_intermixed_args(args)
        settings, others = split_words(given.words)
        robot = load([*given.config, *settings])  # first of all: a setting with a typo is not what the robot is told
        order = Order(
            checkpoint=given.checkpoint,
            instruction=the_instruction(others),
            robot=robot,
            folder=given.out or new_folder(Path(robot.log.folder), datetime.now()),
            confirm=given.confirm,
            dry_run=given.dry_run,
            max_steps=given.max_steps,
            device=given.device,
            accept_calibration=given.accept_calibration,
        )
        if given.confirm != "never" and not sys.stdin.isatty():
            raise ConfigError(
                f"--confirm {given.confirm} asks at the terminal, and standard input is none; start it in a terminal, "
                "or with --confirm never where nobody is to be asked"
            )
        out = Console(highlight=False, markup=False, soft_wrap=True)
        episode = deploy(order, Terminal(out.print, typed))
        out.print(f"{episode.ending} after {episode.steps} actions" + (f": {episode.reason}" if episode.reason else ""))
        return 0 if episode.ending == "done" else 1

    return run(command, INTERRUPTED, "see to the folder of the run, or name another with --out")


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings `key=value`, right or wrong, and the other words; before a setting's "=" there is no space."""
    settings = [word for word in words if "=" in word and not any(map(str.isspace, word.partition("=")[0]))]
    return settings, [word for word in words if word not in settings]


def the_instruction(words: Sequence[str]) -> str:
    """The one instruction among what is no setting.

    Raises:
        ConfigError: there is none, or more than one.
    """
    if len(words) != 1:
        raise ConfigError(f"one instruction is expected, in quotes; found {list(words) or 'none'}")
    return words[0]


if __name__ == "__main__":
    sys.exit(main())
