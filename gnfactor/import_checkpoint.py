"""Published weights as a checkpoint of ours: python -m gnfactor.import_checkpoint FILE OUT --method gnfactor|peract."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from torch import Tensor

from gnfactor.checkpoint import CheckpointInfo, TrainedOn, write_checkpoint
from gnfactor.command import run_by_usage
from gnfactor.config import Config, DataConfig, override
from gnfactor.encoder import EncoderConfig
from gnfactor.errors import CheckpointError, ConfigError
from gnfactor.evaluation.settings import EvaluateConfig
from gnfactor.field.neural_field import FieldConfig
from gnfactor.head import HeadConfig
from gnfactor.model import Policy, PolicyConfig
from gnfactor.published import ReleasedKeys, load_field_weights, load_policy_weights, our_name, sort_keys
from gnfactor.voxels import GridConfig
from perceiver.q_head import QHeadConfig

USAGE = """\
usage: python -m gnfactor.import_checkpoint FILE OUT --method gnfactor|peract [--step N] [key=value...]

Turns a checkpoint released with GNFactor or PerAct (a .pt file of tensors) into a checkpoint folder OUT, which eval.py
takes as any other. The file is read as tensors alone: a file that holds anything else is refused, and nothing in it
can run.

  python -m gnfactor.import_checkpoint weights/100000/QAttentionAgent_layer0.pt runs/released --method gnfactor
  python eval.py runs/released env=rlbench

What the weights assume and do not say themselves is set as published: the channels of the voxel grid and their order,
the cameras (GNFactor: front; PerAct: front, left_shoulder, right_shoulder, wrist), 128 x 128 pixels, at most 25
actions, the time input over 25 steps, the text tower of CLIP. Where the weights were made otherwise, say so:

  --step N                           optimiser steps, for reports; else the number that FILE's folder is named by, or 0
  policy.cameras=[front]             the cameras that it was trained with: PerAct in GNFactor's comparison has this one
  policy.episode_length=15           steps of the time input: the released GNFactor was trained over 15 and evaluated
                                     over 25, and so are its published success rates
  policy.language.weights=PATH       where CLIP's weights are, on a machine that cannot download them
  data.tasks=[open_drawer]           the tasks that it was trained on; else the ten of GNFactor's benchmark
and any other key of a configuration, such as the sizes of networks that are not the released ones.
"""

RENDERER = "rlbench"
"""Who made the pictures that published weights have learned from."""
TASKS = (
    *("close_jar", "open_drawer", "sweep_to_dustpan_of_size", "meat_off_grill", "turn_tap"),
    *("slide_block_to_color_target", "put_item_in_drawer", "reach_and_drag", "push_buttons", "stack_blocks"),
)
"""GNFactor's benchmark; PerAct learned these and eight others."""
MAX_STEPS = 25
"""Actions after which a published episode has failed."""


@dataclass(frozen=True)
class Method:
    """A published method and what its weights assume."""

    title: str
    policy: PolicyConfig
    mark: str
    """Our name of a weight that only its policy network has."""


METHODS = {
    "gnfactor": Method("GNFactor", PolicyConfig(field=FieldConfig()), mark="encoder.map.weight"),
    "peract": Method(
        "PerAct",
        PolicyConfig(
            cameras=("front", "left_shoulder", "right_shoulder", "wrist"),
            grid=GridConfig(channels=("xyz", "rgb", "index", "occupancy")),
            encoder=EncoderConfig(kind="pointwise", channels=64),
            head=HeadConfig(network=QHeadConfig(width=64, hidden=(256, 64))),
        ),
        mark="encoder.convolution.weight",
    ),
}
"""By name; the same settings as configs/gnfactor.yaml and configs/peract.yaml, which a test compares."""


@dataclass(frozen=True)
class Imported:
    """What became of a released checkpoint."""

    config: Config
    step: int
    policy_weights: int
    """Numbers in the policy network."""
    field_weights: int
    """Numbers in the neural field; 0 where the file has none."""
    ignored: tuple[str, ...]
    """Keys of which nothing was kept."""


def main(args: Sequence[str]) -> int:
    """Run the command line; returns the exit status: 0, or 2 for a mistake that the message explains."""

    def command(console: Console) -> int:  # noqa: ARG001 (there is nothing to say but the result)
        positional, method, step = _arguments(args)
        source, out = Path(positional[0]), Path(positional[1])
        imported = import_checkpoint(source, out, method, positional[2:], step)
        _tell(source, out, METHODS[method], imported)
        return 0

    remedy = "make room, or choose another place"
    return run_by_usage(USAGE, args, command, "interrupted; nothing was written", remedy)


def import_checkpoint(
    source: Path, out: Path, method: str, overrides: Sequence[str] = (), step: int | None = None
) -> Imported:
    """Write a released checkpoint as one of ours, whole or not at all.

    Args:
        source: the released file.
        out: folder to make.
        method: one of `METHODS`.
        overrides: `key=value` for what is not as published.
        step: optimiser steps; None: the number that the file's folder is named by, or 0.

    Raises:
        ConfigError: the method or a key is unknown, or a value makes no sense.
        CheckpointError: there is no such file, it is damaged, holds other things than tensors or other weights than
            this method's; or the folder is there already.
    """
    if method not in METHODS:
        raise ConfigError(f"the method '{method}' is unknown; known are: {', '.join(METHODS)}")
    if out.exists():
        raise CheckpointError(f"{out} is there already and is not written over; name another folder, or remove it")
    tensors = read_tensors(source)
    try:
        keys = sort_keys(tensors)
        _refuse_another_method(keys, method)
        config = _configured(METHODS[method].policy, has_field=bool(keys.field), overrides=overrides)
        policy = _policy_of(config.policy, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    steps = _step_of(source) if step is None else step
    trained_on = TrainedOn(config.data.tasks or TASKS, RENDERER, training=(), held_out=())
    info = CheckpointInfo(steps, instructions=(), averaged=False, validation=None, trained_on=trained_on)
    write_checkpoint(out, config, info, policy.state_dict(), state={})
    field = 0 if policy.field is None else _count(policy.field)
    return Imported(config, steps, _count(policy) - field, field, keys.ignored)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The dictionary of tensors in a file by a stranger, on the CPU; nothing in it is run.

    Raises:
        CheckpointError: there is none, it is damaged, or holds anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; name the released .pt file")
    try:
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file made to break the reader, or cut anywhere, may do so in any way
        raise CheckpointError(
            f"{path} cannot be read as tensors alone ({_reason(error)}); it is cut short, damaged, or holds what could "
            "run a program, which is never done: get it again from those who released it"
        ) from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}; a dictionary of tensors by name is expected")
    entries = cast("Mapping[object, object]", loaded)
    foreign = [str(key) for key, value in entries.items() if not (isinstance(key, str) and _is_plain(value))]
    if foreign:
        shown = ", ".join(sorted(foreign)[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise CheckpointError(
            f"{path} holds what are no plain tensors by name: {shown}; the state dictionary alone is expected, as "
            "GNFactor and PerAct release it"
        )
    return cast("dict[str, Tensor]", dict(entries))


def _is_plain(value: object) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _reason(error: Exception) -> str:
    """What torch found, in one line, without its advice to read the file unsafely."""
    text = str(error)
    found = re.search(r"GLOBAL (\S+)", text)
    if found:
        return f"it asks for {found[1]}"
    told = re.search(r"WeightsUnpickler error: (.*)", text)
    lines = [told[1]] if told else [line for line in text.splitlines() if line and "weights_only" not in line]
    return (lines or [type(error).__name__])[0][:160]


def _refuse_another_method(keys: ReleasedKeys, method: str) -> None:
    """Raise CheckpointError unless these are the weights of this method."""
    if not keys.policy:
        raise CheckpointError("there are no weights of a policy network in it")
    names = {our_name(key) for key in keys.policy}
    for other, known in METHODS.items():
        if other != method and known.mark in names:
            raise CheckpointError(f"these are {known.title}'s weights, not {METHODS[method].title}'s; --method {other}")
    if keys.field and METHODS[method].policy.field is None:
        raise CheckpointError(
            f"it holds a neural field ({keys.field[0]}, ...), which {METHODS[method].title} does not have; "
            "--method gnfactor"
        )


def _configured(policy: PolicyConfig, *, has_field: bool, overrides: Sequence[str]) -> Config:
    """What weights of this policy assume, then what is known better."""
    policy = policy if has_field else replace(policy, field=None)
    evaluate = EvaluateConfig(max_steps=MAX_STEPS)
    return override(Config(policy=policy, data=DataConfig(tasks=TASKS), evaluate=evaluate), overrides)


def _policy_of(config: PolicyConfig, tensors: Mapping[str, Tensor]) -> Policy:
    """The policy with the weights in it, each of the shape expected, all of them finite."""
    policy = Policy(config)
    if policy.head is None:
        raise ConfigError("policy.head is null; released weights are of a policy with an action head: leave it out")
    load_policy_weights(policy.encoder, policy.head.network, tensors)
    if policy.field is not None:
        load_field_weights(policy.field.network, tensors)
    broken = [name for name, tensor in policy.named_parameters() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{len(broken)} of the weights are not finite numbers, the first is {broken[0]}")
    return policy


def _step_of(source: Path) -> int:
    """The released programs name the folder of a checkpoint by its step."""
    folder = source.resolve().parent.name
    return int(folder) if folder.isascii() and folder.isdigit() else 0


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _arguments(args: Sequence[str]) -> tuple[list[str], str, int | None]:
    """FILE, OUT and the overrides; the method; the step.

    Raises:
        ConfigError: an option is unknown or lacks its value, or something is missing or left over.
    """
    positional: list[str] = []
    options: dict[str, str] = {}
    rest = iter(args)
    for arg in rest:
        name, joined, value = arg.partition("=")
        if not name.startswith("--"):
            positional.append(arg)
        elif name not in ("--method", "--step"):
            raise ConfigError(f"there is no option {name}; see python -m gnfactor.import_checkpoint --help")
        else:
            options[name] = value if joined else next(rest, "")
    stray = [text for text in positional[2:] if "=" not in text]
    if len(positional) < 2 or stray:
        found = ", ".join(stray or positional) or "nothing"
        raise ConfigError(f"FILE, OUT and then key=value are expected, found {found}; see --help")
    if not options.get("--method"):
        raise ConfigError(f"--method is missing: whose weights are they? One of: {', '.join(METHODS)}")
    step = options.get("--step")
    if step is not None and not (step.isascii() and step.isdigit()):
        raise ConfigError(f"--step is '{step}'; a whole number of at least 0 is expected")
    return positional, options["--method"], None if step is None else int(step)


def _tell(source: Path, out: Path, method: Method, imported: Imported) -> None:
    """Say what was taken, what was not, and what was assumed."""
    policy = imported.config.policy
    field = f"{imported.field_weights:,} of the neural field" if imported.field_weights else "no neural field in it"
    print(f"{source}: {method.title}, step {imported.step}; {imported.policy_weights:,} weights of the policy, {field}")
    print(f"ignored, since we compute them: {', '.join(imported.ignored) or 'nothing'}")
    print(
        f"assumed: cameras {', '.join(policy.cameras)} of {policy.image_size[0]} x {policy.image_size[1]} pixels, grid "
        f"channels {', '.join(policy.grid.channels)}, time input over {policy.episode_length} steps, at most "
        f"{imported.config.evaluate.max_steps} actions"
    )
    if imported.field_weights:
        print(
            "the field was trained on volumes with x and z exchanged and with a wrong focal length; it will render "
            "nothing sensible before it is trained again, which the actions do not depend on"
        )
    print(f"{out} written; evaluate it with: python eval.py {out} env=rlbench")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
