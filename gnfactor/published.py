"""Names of the published networks' weights, and ours: the one place that knows both.

Read from the released code's state dictionaries; used to import released checkpoints. Their files are pickles of
strangers: read them with `torch.load(path, weights_only=True)` and pass the dictionary on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from gnfactor.errors import CheckpointError

PREFIXES = ("_qnet.module.", "_qnet.")
"""Before the policy network's keys in a released checkpoint; the longer one where several GPUs trained it."""

IGNORED = (
    r"ss(0|1|_final)\.pos_[xyz]",  # coordinates of the soft-argmax, which we compute
    r"_voxelizer\..*",  # work space of the voxelizer
    r"_neural_renderer\..*",  # the neural field, which has rules of its own: `load_field_weights`
)

PARAMETER = r"(weight|bias)"
NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"

RULES: tuple[tuple[str, str], ...] = (
    # PerAct's stem
    (rf"input_preprocess\.conv3d\.{PARAMETER}", r"encoder.convolution.\1"),
    # GNFactor's U-Net: convolutions 1, 3, 5 halve, 2, 4, 6 refine, 7, 9, 11 double
    (r"encoder_3d\.conv0\.conv\.weight", r"encoder.stem.convolution.weight"),
    (rf"encoder_3d\.conv0\.bn\.bn\.{NORM}", r"encoder.stem.norm.\1"),
    *(
        rule
        for level in range(3)
        for ours, number in (("down", 2 * level + 1), ("refine", 2 * level + 2))
        for rule in (
            (rf"encoder_3d\.conv{number}\.conv\.weight", rf"encoder.{ours}.{level}.convolution.weight"),
            (rf"encoder_3d\.conv{number}\.bn\.bn\.{NORM}", rf"encoder.{ours}.{level}.norm.\1"),
        )
    ),
    *(
        rule
        for level, number in enumerate((7, 9, 11))
        for rule in (
            (rf"encoder_3d\.conv{number}\.0\.weight", rf"encoder.up.{level}.convolution.weight"),
            (rf"encoder_3d\.conv{number}\.1\.bn\.{NORM}", rf"encoder.up.{level}.norm.\1"),
        )
    ),
    (rf"encoder_3d\.conv_out\.{PARAMETER}", r"encoder.map.\1"),
    # the head
    (rf"patchify\.conv3d\.{PARAMETER}", r"head.patches.\1"),
    (rf"lang_preprocess\.{PARAMETER}", r"head.words.\1"),
    (rf"proprio_preprocess\.linear\.{PARAMETER}", r"head.state.\1"),
    (r"pos_encoding", r"head.positions"),
    (rf"up0\.conv_up\.0\.conv3d\.{PARAMETER}", r"head.widen.\1"),
    (rf"up0\.conv_up\.2\.conv3d\.{PARAMETER}", r"head.upsample.\1"),
    (rf"final\.conv3d\.{PARAMETER}", r"head.final.\1"),
    (rf"trans_decoder\.conv3d\.{PARAMETER}", r"head.translation.\1"),
    (rf"dense(\d)\.linear\.{PARAMETER}", r"head.dense.\1.\2"),
    (rf"rot_grip_collision_ff\.linear\.{PARAMETER}", r"head.values.\1"),
    # the Perceiver
    (r"latents", r"head.perceiver.latents"),
    *(
        rule
        for theirs, ours in (
            (r"cross_attend_blocks\.(0)", r"head.perceiver.read"),
            (r"layers\.(\d+)\.0", r"head.perceiver.blocks.\1.0"),
            (r"(decoder_cross_attn)", r"head.perceiver.write"),
        )
        for rule in (
            (rf"{theirs}\.fn\.to_q\.weight", rf"{ours}.to_query.weight"),
            (rf"{theirs}\.fn\.to_kv\.weight", rf"{ours}.to_key_value.weight"),
            (rf"{theirs}\.fn\.to_out\.{PARAMETER}", rf"{ours}.to_output.\2"),
            (rf"{theirs}\.norm\.{PARAMETER}", rf"{ours}.norm_query.\2"),
            (rf"{theirs}\.norm_context\.{PARAMETER}", rf"{ours}.norm_context.\2"),
        )
    ),
    *(
        rule
        for theirs, ours in (
            (r"cross_attend_blocks\.(1)", r"head.perceiver.read_feed"),
            (r"layers\.(\d+)\.1", r"head.perceiver.blocks.\1.1"),
        )
        for rule in (
            (rf"{theirs}\.fn\.net\.0\.{PARAMETER}", rf"{ours}.to_hidden.\2"),
            (rf"{theirs}\.fn\.net\.2\.{PARAMETER}", rf"{ours}.to_output.\2"),
            (rf"{theirs}\.norm\.{PARAMETER}", rf"{ours}.norm.\2"),
        )
    ),
)
"""Published key (a pattern) and our name for it, below `encoder.` or `head.`."""

FIELD = re.compile(r"_neural_renderer\.(?:module\.)?nerf_model\.mlp_(?:coarse|fine)\.(.+)")
"""Keys of the field's network, which is saved twice."""

FIELD_RULES: tuple[tuple[str, str], ...] = (
    (rf"lin_in\.{PARAMETER}", r"inward.\1"),
    (rf"lin_z\.(\d+)\.{PARAMETER}", r"place.\1.\2"),
    (rf"blocks\.(\d+)\.fc_0\.{PARAMETER}", r"blocks.\1.first.\2"),
    (rf"blocks\.(\d+)\.fc_1\.{PARAMETER}", r"blocks.\1.second.\2"),
    (rf"lin_out\.{PARAMETER}", r"outward.\1"),
)
"""Published key (a pattern) of the field's network and our name for it."""

SINGLETONS = {"head.positions": (0,), "encoder.map.weight": (2, 3, 4)}
"""Axes of length one that the published weights have and ours do not."""


def our_name(published_key: str) -> str | None:
    """Our name of a published weight, below `encoder.` or `head.`; None if it is one that we ignore.

    Raises:
        CheckpointError: the key belongs to neither published network.
    """
    prefix = next((prefix for prefix in PREFIXES if published_key.startswith(prefix)), "")
    key = published_key.removeprefix(prefix)
    if any(re.fullmatch(pattern, key) for pattern in IGNORED):
        return None
    name = _renamed(key, RULES)
    if name is None:
        raise CheckpointError(
            f"the weight '{published_key}' is in neither GNFactor's nor PerAct's published policy network; "
            "only their released checkpoints can be imported"
        )
    return name


def _renamed(key: str, rules: Iterable[tuple[str, str]]) -> str | None:
    """What the first rule that fits makes of a key."""
    matches = ((re.fullmatch(pattern, key), name) for pattern, name in rules)
    return next((match.expand(name) for match, name in matches if match), None)


def load_policy_weights(encoder: nn.Module, head: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the encoder and the Q-head the weights of a published policy network, in place.

    Args:
        encoder: a `gnfactor.encoder` of the sizes that the weights were trained with.
        head: a `perceiver.q_head.QHead` likewise.
        tensors: the released checkpoint's dictionary.

    Raises:
        CheckpointError: weights are unknown, missing, left over, or of other shapes than the modules'.
    """
    given = {name: tensor for key, tensor in tensors.items() if (name := our_name(key)) is not None}
    wanted = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    wanted |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    for name, axes in SINGLETONS.items():
        if name in given:
            given[name] = given[name].squeeze(axes)
    _refuse_misfits(given, wanted)
    for part, module in (("encoder.", encoder), ("head.", head)):
        module.load_state_dict({name.removeprefix(part): t for name, t in given.items() if name.startswith(part)})


def load_field_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a neural field's network the weights of a released GNFactor's field, in place.

    The numbers are theirs, their meaning is not: the released field was trained on volumes looked up with x and z
    exchanged and with the box's faces taken for the centres of the outermost voxels, along rays of a wrong focal
    length. We look volumes up where the points are, so that these weights render nothing sensible before they are
    trained again; nothing of that is imitated.

    Args:
        network: a `gnfactor.field.network.FieldNetwork` of the sizes that the weights were trained with.
        tensors: the released checkpoint's dictionary; weights of the policy network in it are left aside.

    Raises:
        CheckpointError: weights are unknown, missing, left over, of other shapes than the network's, or the two
            copies that a released checkpoint holds differ.
    """
    given: dict[str, Tensor] = {}
    differing: list[str] = []
    for key, tensor in tensors.items():
        match = FIELD.fullmatch(key)
        if match is None:
            continue
        name = _renamed(match[1], FIELD_RULES)
        if name is None:
            raise CheckpointError(
                f"the weight '{key}' is not in GNFactor's published field; only its released checkpoints can be "
                "imported"
            )
        if name in given and not torch.equal(given[name], tensor):
            differing.append(name)
        given[name] = tensor
    _refuse("the checkpoint's coarse and fine field, one network in the publication, differ in", differing)
    _refuse_misfits(given, network.state_dict())
    network.load_state_dict(given)


def _refuse_misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    _refuse("the checkpoint lacks", wanted.keys() - given.keys())
    _refuse("the model has no place for", given.keys() - wanted.keys())
    _refuse(
        "the checkpoint and the model differ in the shapes of",
        (
            f"{name} ({list(given[name].shape)}, the model's {list(wanted[name].shape)})"
            for name in given
            if given[name].shape != wanted[name].shape
        ),
    )


def _refuse(complaint: str, names: Iterable[str]) -> None:
    listed = sorted(names)
    if listed:
        shown = ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
        raise CheckpointError(
            f"{complaint} {shown}; build the model with the configuration that the weights were trained with "
            "(configs/gnfactor.yaml or configs/peract.yaml)"
        )
