"""Laws of the whole policy and of its action head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gnfactor.actions import contains
from gnfactor.augment import move_scene
from gnfactor.batch import Batch, Targets
from gnfactor.cells import CellConfig, CellNetwork
from gnfactor.encoder import EncoderConfig
from gnfactor.errors import ConfigError
from gnfactor.field.network import FieldNetworkConfig
from gnfactor.field.neural_field import FieldConfig, FieldLossConfig
from gnfactor.field.sampling import SamplingConfig
from gnfactor.geometry import pose_from, rotation_angle_deg, rotation_from_euler
from gnfactor.head import Encoded, HeadConfig, LossConfig, VoxelHead
from gnfactor.language import ConditionConfig, LanguageConfig
from gnfactor.model import Policy, PolicyConfig
from gnfactor.scene import ARM
from gnfactor.voxels import GridConfig, grid_from_views
from perceiver.perceiver_io import PerceiverConfig
from perceiver.q_head import InputSizes, QHeadConfig, QValues
from perceiver.volume import Volume
from tests.strategies import random_batch, random_rays

GRID = GridConfig(lower=(0.0, -0.3, 0.7), upper=(0.6, 0.3, 1.3), size=8)
PERCEIVER = PerceiverConfig(
    latents=4, latent_width=8, depth=1, latent_heads=2, latent_head_width=4, cross_head_width=4, dropout=0.0
)


def small(rotation: str = "regression", pool: str = "local", condition: bool = True) -> PolicyConfig:
    network = QHeadConfig(
        width=8, patch=2, perceiver=PERCEIVER, rotation=rotation, pool=pool, hidden=(16,), condition=condition
    )
    return PolicyConfig(
        cameras=("front", "wrist"),
        proprioception=("gripper", "time", "position", "axes"),
        grid=GRID,
        encoder=EncoderConfig(widths=(4, 8), channels=8, norm="group", condition=condition),
        language=LanguageConfig(encoder="hashing", width=8, tokens=8, attend_padding=not condition),
        condition=ConditionConfig(width=8, heads=2) if condition else None,
        cells=CellConfig(hidden=8) if condition else None,
        head=HeadConfig(network=network),
    )


def made(config: PolicyConfig, batch: Batch) -> Policy:
    torch.manual_seed(0)
    policy = Policy(config)
    policy.instructions.learn(batch.inputs.instructions)
    return policy


@pytest.fixture
def batch() -> Batch:
    return random_batch(3, GRID.box, torch.Generator().manual_seed(1))


def fit(policy: Policy, batch: Batch, steps: int) -> None:
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        policy.loss(batch)["total"].backward()
        optimizer.step()


@pytest.mark.parametrize(("rotation", "pool", "condition"), [("bins", "global", False), ("bins", "local", True)])
def test_gradient_steps_lower_the_loss(rotation: str, pool: str, condition: bool, batch: Batch) -> None:
    policy = made(small(rotation, pool, condition), batch)
    before = policy.loss(batch)["total"].item()
    fit(policy, batch, 20)
    assert policy.loss(batch)["total"].item() < 0.8 * before


def test_a_policy_that_has_fitted_its_demonstrations_acts_them(batch: Batch) -> None:
    policy = made(small(), batch)
    fit(policy, batch, 60)
    voxel = (torch.tensor(GRID.upper) - torch.tensor(GRID.lower)) / GRID.size
    chosen = policy.eval().act(batch.inputs)
    for action, target, is_open in zip(
        chosen, batch.targets.world_from_gripper, batch.targets.gripper_open.tolist(), strict=True
    ):
        arm = action.arms[ARM]
        missed = (torch.from_numpy(arm.world_from_gripper[:3, 3]).float() - target[:3, 3]).abs()
        assert (missed <= voxel / 2 + 1e-5).all()
        assert arm.gripper_open == is_open


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    policy = made(small(), batch)
    for layer in policy.modules():  # FiLM starts at zero, which hides what lies behind it
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.3)
    policy.loss(batch)["total"].backward()
    silent = [name for name, weight in policy.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not silent


def test_total_is_the_sum_of_the_named_terms(batch: Batch) -> None:
    terms = made(small(), batch).loss(batch)
    assert set(terms) == {"translation", "rotation", "gripper", "collision", "total"}
    assert terms["total"].item() == pytest.approx(sum(value.item() for name, value in terms.items() if name != "total"))


FIELD = FieldConfig(
    network=FieldNetworkConfig(width=16, features=3, blocks=2, place_blocks=2, density="softplus"),
    sampling=SamplingConfig(coarse=6, importance=3, guided=3),
    loss=FieldLossConfig(depth=0.1),
)
FIELD_TERMS = {"field/colour", "field/feature", "field/depth"}


def with_rays(batch: Batch, views: int = 2) -> Batch:
    return replace(batch, rays=random_rays(3, views, 8, GRID.box, torch.Generator().manual_seed(2), features=3))


def test_head_and_field_learn_from_one_volume(batch: Batch) -> None:
    batch = with_rays(batch)
    policy = made(replace(small(), field=FIELD), batch)
    before = policy.loss(batch)
    assert set(before) == {"translation", "rotation", "gripper", "collision", *FIELD_TERMS, "total"}
    assert before["total"].item() == pytest.approx(sum(v.item() for name, v in before.items() if name != "total"))
    fit(policy, batch, 20)
    after = policy.loss(batch)
    assert after["field/colour"].item() < 0.9 * before["field/colour"].item()
    assert after["translation"].item() < 0.9 * before["translation"].item()


def test_every_parameter_gets_a_gradient_with_a_field_too(batch: Batch) -> None:
    batch = with_rays(batch)
    policy = made(replace(small(), field=replace(FIELD, background="learned")), batch)
    for layer in policy.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.3)
    policy.loss(batch)["total"].backward()
    silent = [name for name, weight in policy.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not silent


def test_a_field_alone_reaches_what_makes_the_volume_and_cannot_act(batch: Batch) -> None:
    batch = with_rays(batch)
    policy = made(replace(small(), head=None, field=FIELD), batch)
    terms = policy.loss(batch)
    assert set(terms) == {*FIELD_TERMS, "total"}
    terms["total"].backward()
    assert all(weight.grad is not None for weight in policy.encoder.parameters())
    with pytest.raises(ConfigError, match=r"no action head \(policy\.head=null\)"):
        policy.act(batch.inputs)


def test_a_batch_without_rays_leaves_the_field_out(batch: Batch) -> None:
    plain, both = made(small(), batch), made(replace(small(), field=FIELD), batch)
    with_field = both.loss(batch)
    assert with_field.keys() == plain.loss(batch).keys()
    for name, term in plain.loss(batch).items():
        assert torch.equal(with_field[name], term), name


def test_the_action_does_not_depend_on_the_field(batch: Batch) -> None:
    policy = made(replace(small(), field=FIELD), batch).eval()
    before = policy.act(batch.inputs)
    torch.nn.init.zeros_(policy.field.network.outward.weight)
    for one, other in zip(before, policy.act(batch.inputs), strict=True):
        assert (one.arms[ARM].world_from_gripper == other.arms[ARM].world_from_gripper).all()


def test_a_weight_scales_its_term_and_no_other(batch: Batch) -> None:
    config = small()
    plain = made(config, batch).loss(batch)
    heavy_head = replace(config.head, loss=LossConfig(rotation=3.0))
    heavy = made(replace(config, head=heavy_head), batch).loss(batch)
    assert heavy["rotation"].item() == pytest.approx(3 * plain["rotation"].item())
    assert heavy["translation"].item() == pytest.approx(plain["translation"].item())


def test_a_chosen_keyframe_always_lies_in_the_box_and_is_a_rotation(batch: Batch) -> None:
    for rotation in ("bins", "regression"):
        policy = made(small(rotation), batch).eval()
        poses = torch.stack([torch.from_numpy(a.arms[ARM].world_from_gripper) for a in policy.act(batch.inputs)])
        assert contains(GRID.box, poses[:, :3, 3].float()).all()
        turn = poses[:, :3, :3]
        torch.testing.assert_close(turn @ turn.mT, torch.eye(3, dtype=turn.dtype).expand(3, 3, 3), atol=1e-5, rtol=0)


def test_the_words_change_the_choice_of_a_trained_policy(batch: Batch) -> None:
    """The same pictures with two instructions, which lead to two places: only language can tell them apart."""
    one = random_batch(1, GRID.box, torch.Generator().manual_seed(3))
    twice = torch.tensor([0, 0])
    views = replace(
        one.inputs.views,
        **{
            name: getattr(one.inputs.views, name)[twice]
            for name in ("rgb", "depth_m", "intrinsics", "world_from_camera")
        },
    )
    inputs = replace(
        one.inputs,
        views=views,
        world_from_gripper=one.inputs.world_from_gripper[twice],
        gripper=one.inputs.gripper[twice],
        step=one.inputs.step[twice],
        instructions=("push the red one", "push the blue one"),
    )
    goals = torch.eye(4).repeat(2, 1, 1)
    goals[:, :3, 3] = torch.tensor([[0.1, -0.2, 0.8], [0.5, 0.2, 1.0]])
    pair = Batch(inputs, Targets(goals, torch.tensor([True, True]), torch.tensor([False, False])), ("a", "a"))
    policy = made(small(), pair)
    fit(policy, pair, 60)
    red, blue = (action.arms[ARM].world_from_gripper[:3, 3] for action in policy.eval().act(pair.inputs))
    assert abs(red - blue).max() > 0.2


def test_the_grid_turns_with_the_scene(batch: Batch) -> None:
    """Turning the world by a quarter about the grid's axis turns the grid, and nothing else."""
    config = replace(GRID, channels=("rgb", "occupancy"))
    quarter = rotation_from_euler(torch.tensor([0.0, 0.0, torch.pi / 2]))
    centre = (torch.tensor(GRID.lower) + torch.tensor(GRID.upper)) / 2
    motion = pose_from(quarter, centre - quarter @ centre).expand(3, 4, 4)
    before = grid_from_views(batch.inputs.views, config)
    after = grid_from_views(move_scene(batch, motion).inputs.views, config)
    turned = before.rot90(1, (2, 3))
    differing = ((after - turned).abs() > 1e-3).any(1).float().mean()
    assert differing < 0.01, "points on a voxel's face may round to either side, no more"


class _Fixed(torch.nn.Module):
    """A network that answers with prepared values."""

    def __init__(self, values: QValues) -> None:
        super().__init__()
        self.values = values

    def forward(self, *_: object, **__: object) -> QValues:
        return self.values


def test_the_head_decodes_the_labels_it_would_train_on() -> None:
    """Hand-made values with one clear maximum each come back as that voxel's centre, rotation and choices."""
    network = QHeadConfig(width=8, patch=2, perceiver=PERCEIVER, hidden=(16,))
    head = VoxelHead(HeadConfig(network=network), GRID, InputSizes(8, 4, 8, 8, 13))
    translation = torch.zeros(1, 8, 8, 8)
    translation[0, 1, 2, 7] = 5.0
    rotation = torch.zeros(1, 3, 72)
    rotation[0, 0, 0] = rotation[0, 1, 36] = rotation[0, 2, 48] = 5.0  # -180, 0 and 60 degrees
    head.network = _Fixed(QValues(translation, rotation, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])))
    chosen = head.choose(
        Encoded(Volume(torch.zeros(1, 4, 8, 8, 8)), torch.zeros(1, 8, 8), None, torch.zeros(1, 13), None)
    )
    pose = chosen.world_from_gripper[0]
    torch.testing.assert_close(pose[:3, 3], torch.tensor([0.1125, -0.1125, 1.2625]))
    expected = rotation_from_euler(torch.deg2rad(torch.tensor([180.0, 0.0, 60.0])))
    assert rotation_angle_deg(pose[:3, :3], expected) < 0.01
    assert chosen.gripper_open.tolist() == [True]
    assert chosen.ignore_collisions.tolist() == [False]


def test_the_cell_network_starts_as_the_identity_and_never_touches_an_empty_voxel() -> None:
    cells = CellNetwork(CellConfig(hidden=6), channels=5, condition_width=3)
    grid, occupied = torch.randn(2, 5, 4, 4, 4), torch.rand(2, 4, 4, 4) > 0.5
    assert torch.equal(cells(grid, occupied, torch.randn(2, 3)), grid)
    torch.nn.init.normal_(cells.narrow.weight)
    one, other = (cells(grid, occupied, torch.randn(2, 3)) for _ in range(2))
    empty = ~occupied[:, None].expand_as(grid)
    assert torch.equal(one[empty], grid[empty])
    assert not torch.isclose(one, other).all(1)[occupied].any(), "the condition changes every occupied voxel"


def test_nonsense_in_the_configuration_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"policy\.cells"):
        PolicyConfig(cells=CellConfig())
    with pytest.raises(ConfigError, match=r"policy\.cameras"):
        PolicyConfig(cameras=())
    with pytest.raises(ConfigError, match=r"policy\.head and policy\.field are both null"):
        PolicyConfig(head=None)
    with pytest.raises(ConfigError, match="episode_length"):
        PolicyConfig(episode_length=1)
    with pytest.raises(ConfigError, match=r"loss\.rotation"):
        LossConfig(rotation=-1.0)
