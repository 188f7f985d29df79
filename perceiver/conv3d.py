"""Convolution, upsampling, modulation and pooling on volumes `(batch, channels, x, y, z)`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LEAK = 0.02
"""Slope of the leaky ReLU below zero, everywhere but in the U-Net (PerAct, GNFactor)."""


def activate(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The leaky ReLU of the published networks, in place: for values that nobody else needs."""
    return F.leaky_relu(x, LEAK, inplace=True)


def initialise(weight: Tensor, bias: Tensor, activated: bool) -> None:
    """Published initialisation: Kaiming-uniform before an activation, Xavier-uniform without one, zero bias."""
    if activated:
        nn.init.kaiming_uniform_(weight, a=LEAK, nonlinearity="leaky_relu")
    else:
        nn.init.xavier_uniform_(weight)
    nn.init.zeros_(bias)


def dense(inputs: int, outputs: int, activated: bool = True) -> nn.Linear:
    """A linear layer initialised as published; `activated` says whether an activation follows."""
    layer = nn.Linear(inputs, outputs)
    initialise(layer.weight, layer.bias, activated)
    return layer


class Convolution(nn.Module):
    """Weights of a cubic convolution, initialised as published; `activated` says whether an activation follows."""

    def __init__(self, inputs: int, outputs: int, kernel: int, activated: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        initialise(self.weight, self.bias, activated)

    def forward(self, x: Float[Tensor, "batch inputs x y z"]) -> Float[Tensor, "batch outputs x y z"]:
        """The convolution at stride 1, without activation."""
        return convolve(x, self.weight, self.bias)


class FiLM(nn.Module):
    """Feature-wise modulation (1 + gamma) x + beta by a condition vector (Perez et al. 2018); starts as identity."""

    def __init__(self, condition_width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(condition_width, 2 * channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(
        self, x: Float[Tensor, "batch channels x y z"], condition: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch channels x y z"]:
        """The modulated volume."""
        gamma, beta = self.project(condition).to(x.dtype)[..., None, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, x, 1 + gamma)


def convolve(
    x: Float[Tensor, "batch inputs x y z"],
    weight: Float[Tensor, "outputs inputs k k k"],
    bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "batch outputs x y z"]:
    """Convolution at stride 1 that continues the border voxels outwards (replicate padding); odd kernels."""
    return F.conv3d(pad_replicate(x, weight.shape[-1] // 2), weight, bias)


def patchify(
    x: Float[Tensor, "batch inputs x y z"],
    weight: Float[Tensor, "outputs inputs patch patch patch"],
    bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "batch outputs gx gy gz"]:
    """One feature vector per patch^3 voxels: a convolution whose stride is its kernel.

    With an odd patch the grid is padded by half a patch as published, so that windows are centred on voxels 0,
    patch, 2 patch, ...; with an even one they tile the grid.
    """
    patch = weight.shape[-1]
    return F.conv3d(pad_replicate(x, patch // 2 if patch % 2 else 0), weight, bias, stride=patch)


def pad_replicate(x: Float[Tensor, "batch channels x y z"], width: int) -> Float[Tensor, "batch channels px py pz"]:
    """The volume with its border voxels repeated `width` times on every side."""
    return F.pad(x, (width,) * 6, mode="replicate") if width else x


def upsample_convolve(
    x: Float[Tensor, "batch inputs x y z"],
    weight: Float[Tensor, "outputs inputs k k k"],
    bias: Float[Tensor, " outputs"],
    scale: int,
) -> Float[Tensor, "batch outputs sx sy sz"]:
    """Trilinear upsampling by `scale` (cell-centred), replicate padding and a convolution with an odd kernel."""
    cells = x.shape[0] * x.shape[2:].numel()
    return UPSAMPLE_CONVOLVE[choose_upsampling(weight.shape[-1], scale, cells)](x, weight, bias, scale)


def choose_upsampling(kernel: int, scale: int, cells: int) -> str:
    """Name of the implementation to use for a kernel, a scale and low-resolution voxels in the whole batch.

    Counts multiplications per voxel and channel pair: kernel^3 in the reference, taps^3 in the poly-phase form, which
    is half as efficient and first contracts its weights, at the price of about 300 more cells
    (tests/benchmarks/results/upsample.json, one CPU; an NVIDIA GPU has not been measured yet).
    """
    if kernel == 1:
        return "pointwise"
    taps = upsampling_stencil(scale, kernel).shape[-1]
    return "fast" if kernel**3 * cells > 2 * taps**3 * (cells + 300) else "reference"


def upsample_convolve_reference(x: Tensor, weight: Tensor, bias: Tensor, scale: int) -> Tensor:
    """As it is defined: the upsampled volume is made, padded and convolved."""
    return convolve(F.interpolate(x, scale_factor=scale, mode="trilinear", align_corners=False), weight, bias)


def upsample_convolve_fast(x: Tensor, weight: Tensor, bias: Tensor, scale: int) -> Tensor:
    """Poly-phase form: one small convolution at low resolution gives all scale^3 phases, which are interleaved.

    Interpolation, padding and convolution are linear, so each output phase is a fixed stencil on the low-resolution
    volume. Replicate padding at low resolution continues both exactly.
    """
    outputs, kernel = weight.shape[0], weight.shape[-1]
    with torch.autocast(x.device.type, enabled=False):
        stencil = upsampling_stencil(scale, kernel).to(weight)
        phases = torch.einsum("oiabc,pax,qby,rcz->pqroixyz", weight, stencil, stencil, stencil)
        phases = phases.reshape(scale**3 * outputs, *phases.shape[4:])
    low = F.conv3d(pad_replicate(x, stencil.shape[-1] // 2), phases, bias.repeat(scale**3))
    return interleave_phases(low, scale)


def upsample_convolve_pointwise(x: Tensor, weight: Tensor, bias: Tensor, scale: int) -> Tensor:
    """For kernels of one voxel only: interpolation keeps sums, so the convolution can come before it."""
    assert weight.shape[-1] == 1, "only a pointwise convolution commutes with interpolation"
    return F.interpolate(F.conv3d(x, weight, bias), scale_factor=scale, mode="trilinear", align_corners=False)


@lru_cache
def upsampling_stencil(scale: int, kernel: int) -> Float[Tensor, "scale kernel taps"]:
    """Weight of low-resolution neighbour t (centred) in what kernel tap j reads at output phase p, on one axis.

    Tap j of phase p lies at (p + j - kernel // 2 + 1/2) / scale - 1/2 low-resolution voxels from the cell's centre
    and is interpolated between the two neighbours around it.
    """
    half = kernel // 2
    phase, tap = torch.arange(scale)[:, None], torch.arange(kernel)[None, :]
    position = (phase + tap - half + 0.5).double() / scale - 0.5
    radius = int(position.abs().max().ceil())
    neighbour = torch.arange(-radius, radius + 1)
    return (1 - (position[..., None] - neighbour).abs()).clamp(min=0)


def interleave_phases(
    low: Float[Tensor, "batch phases_and_channels x y z"], scale: int
) -> Float[Tensor, "batch channels sx sy sz"]:
    """Three-dimensional pixel shuffle of channels ordered (phase x, phase y, phase z, channel); keeps the layout."""
    batch, _, x, y, z = low.shape
    if low.is_contiguous(memory_format=torch.channels_last_3d):
        cells = low.permute(0, 2, 3, 4, 1).unflatten(-1, (scale, scale, scale, -1))
        voxels = cells.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, x * scale, y * scale, z * scale, -1)
        return voxels.permute(0, 4, 1, 2, 3)
    cells = low.unflatten(1, (scale, scale, scale, -1))
    return cells.permute(0, 4, 5, 1, 6, 2, 7, 3).reshape(batch, -1, x * scale, y * scale, z * scale)


UPSAMPLE_CONVOLVE: dict[str, Callable[[Tensor, Tensor, Tensor, int], Tensor]] = {
    "reference": upsample_convolve_reference,
    "fast": upsample_convolve_fast,
    "pointwise": upsample_convolve_pointwise,
}


def spatial_soft_argmax(
    features: Float[Tensor, "batch channels x y z"], temperature: float = 0.01
) -> Float[Tensor, "batch channels 3"]:
    """Expected position of each channel under the softmax of its values over the grid, in [-1, 1], in fp32.

    The three numbers are the expectations along y, x, z: the published order, which published weights rely on.
    """
    with torch.autocast(features.device.type, enabled=False):
        share = (features.float().flatten(2) / temperature).softmax(-1)
        x, y, z = (torch.linspace(-1, 1, size, device=features.device) for size in features.shape[2:])
        positions = torch.stack([axis.flatten() for axis in torch.meshgrid(x, y, z, indexing="ij")], -1)
        return share @ positions[:, [1, 0, 2]]


def pool(features: Float[Tensor, "batch channels x y z"]) -> Float[Tensor, "batch four_channels"]:
    """What a volume says as a whole: soft-argmax triplets of every channel, then their maxima, in fp32."""
    return torch.cat((spatial_soft_argmax(features).flatten(1), features.amax((2, 3, 4)).float()), 1)
