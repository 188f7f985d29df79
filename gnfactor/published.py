"""Names of the published networks' weights, and ours: the one place that knows both.

Read from the released code's state dictionaries; used to import released checkpoints. Their files are pickles of
strangers: read them with `torch.load(path, weights_only=True)` and pass the dictionary on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnfactor.errors import CheckpointError
from gnfactor.field.network import FieldNetwork

PREFIXES = ("_qnet.module.", "_qnet.")
"""Before the policy network's keys in a released checkpoint; the longer one where several GPUs trained it."""

IGNORED = (
    r"ss(0|1|_final)\.pos_[xyz]",  # coordinates of the soft-argmax, which we compute
    r"_voxelizer\..*",  # work space of the voxelizer
)
"""Keys of which nothing is kept."""

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

FIELD = re.compile(r"_neural_renderer\.(?:module\.)?nerf_model\.mlp_(coarse|fine)\.(.+)")
"""Keys of the field's network, which is saved twice."""
FIELD_ENCODING = re.compile(r"_neural_renderer\.(?:module\.)?nerf_model\.code\.(_freqs|_phases)")
"""Keys of what its positional encoding was made with: no weights, but they say which encoding."""

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
    """Our name of a published weight of the policy, below `encoder.` or `head.`; None if it is the field's or ignored.

    Raises:
        CheckpointError: the key belongs to neither published network.
    """
    if _is_of_the_field(published_key):
        return None
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


@dataclass(frozen=True)
class ReleasedKeys:
    """The keys of a released checkpoint, by what becomes of them."""

    policy: tuple[str, ...]
    """Weights of the policy network."""
    field: tuple[str, ...]
    """Weights of the neural field, and the numbers of its encoding."""
    ignored: tuple[str, ...]


def sort_keys(keys: Iterable[str]) -> ReleasedKeys:
    """What becomes of each key of a released checkpoint.

    Raises:
        CheckpointError: some belong to no released checkpoint; lists them.
    """
    policy: list[str] = []
    field: list[str] = []
    ignored: list[str] = []
    unknown: list[str] = []
    for key in keys:
        if _is_of_the_field(key):
            field.append(key)
            continue
        try:
            (ignored if our_name(key) is None else policy).append(key)
        except CheckpointError:
            unknown.append(key)
    if unknown:
        raise CheckpointError(
            f"the checkpoint holds what no released GNFactor or PerAct does: {_listed(unknown, most=20)}; only their "
            "released checkpoints can be imported"
        )
    return ReleasedKeys(tuple(policy), tuple(field), tuple(ignored))


def _is_of_the_field(key: str) -> bool:
    match = FIELD.fullmatch(key)
    return FIELD_ENCODING.fullmatch(key) is not None if match is None else _renamed(match[2], FIELD_RULES) is not None


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
    named = [(name, tensor) for key, tensor in tensors.items() if (name := our_name(key)) is not None]
    counts = Counter(name for name, _ in named)
    _refuse("the checkpoint holds more than one of", (name for name, count in counts.items() if count > 1))
    given = dict(named)
    wanted = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    wanted |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    for name, axes in SINGLETONS.items():
        if name in given and given[name].ndim > max(axes):
            given[name] = given[name].squeeze(axes)
    _refuse_misfits(given, wanted)
    for part, module in (("encoder.", encoder), ("head.", head)):
        module.load_state_dict({name.removeprefix(part): t for name, t in given.items() if name.startswith(part)})


def load_field_weights(network: FieldNetwork, tensors: Mapping[str, Tensor]) -> None:
    """Give a neural field's network the weights of a released GNFactor's field, in place.

    The numbers are theirs, their meaning is not: the released field was trained on volumes looked up with x and z
    exchanged and with the box's faces taken for the centres of the outermost voxels, along rays of a wrong focal
    length. We look volumes up where the points are, so that these weights render nothing sensible before they are
    trained again; nothing of that is imitated.

    Args:
        network: one of the sizes that the weights were trained with.
        tensors: the released checkpoint's dictionary; weights of the policy network in it are left aside.

    Raises:
        CheckpointError: weights are unknown, missing, left over, of other shapes than the network's, made for another
            positional encoding, or the two copies that a released checkpoint holds differ.
    """
    copies: dict[str, dict[str, Tensor]] = {"coarse": {}, "fine": {}}
    for key, tensor in tensors.items():
        match = FIELD.fullmatch(key)
        if match is None:
            continue
        name = _renamed(match[2], FIELD_RULES)
        if name is None:
            raise CheckpointError(
                f"the weight '{key}' is not in GNFactor's published field; only its released checkpoints can be "
                "imported"
            )
        _refuse("the checkpoint's field holds more than one of", [name] if name in copies[match[1]] else [])
        copies[match[1]][name] = tensor
    for copy, given in copies.items():
        _refuse_misfits(given, network.state_dict(), f"the checkpoint's {copy} field")
    coarse, fine = copies.values()
    differing = (name for name in fine if not torch.equal(coarse[name], fine[name]))
    _refuse("the checkpoint's coarse and fine field, one network in the publication, differ in", differing)
    _refuse_another_encoding(network, tensors)
    network.load_state_dict(fine)


def _refuse_another_encoding(network: FieldNetwork, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if the checkpoint says which frequencies it encodes positions with, and they are others."""
    config = network.config
    expected = [config.lowest_frequency * 2.0**octave for octave in range(config.frequencies)]
    for key, tensor in tensors.items():
        match = FIELD_ENCODING.fullmatch(key)
        if match is None or match[1] != "_freqs":
            continue
        found = sorted(set(tensor.flatten()[: 4 * len(expected)].tolist()))
        if len(found) != len(expected) or not torch.allclose(torch.tensor(found), torch.tensor(expected), rtol=1e-4):
            raise CheckpointError(
                f"the checkpoint's field encodes positions with the frequencies {found}, the model's with {expected}; "
                "set policy.field.network.frequencies and policy.field.network.lowest_frequency to what it was "
                "trained with"
            )


def _refuse_misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], holder: str = "the checkpoint") -> None:
    _refuse(f"{holder} lacks", wanted.keys() - given.keys())
    _refuse(f"the model has no place for what {holder} holds:", given.keys() - wanted.keys())
    _refuse(
        f"{holder} and the model differ in the shapes of",
        (
            f"{name} ({list(given[name].shape)}, the model's {list(wanted[name].shape)})"
            for name in given
            if given[name].shape != wanted[name].shape
        ),
    )
    _refuse(
        f"{holder} and the model differ in the kind of numbers of",
        (name for name in given if given[name].is_floating_point() != wanted[name].is_floating_point()),
    )


def _refuse(complaint: str, names: Iterable[str]) -> None:
    found = list(names)
    if found:
        raise CheckpointError(
            f"{complaint} {_listed(found)}; build the model with the configuration that the weights were trained with "
            "(configs/gnfactor.yaml or configs/peract.yaml)"
        )


def _listed(names: Iterable[str], most: int = 5) -> str:
    """The first so many in alphabetical order, and how many more there are."""
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
