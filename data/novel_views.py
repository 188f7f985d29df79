"""How well a policy's field renders held-out views, of scenes that it learned from and of scenes that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby, pairwise
from math import isfinite, sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from data.episode import EpisodeInfo
from data.features import FeatureSource
from data.pairs import stored_pairs
from data.store import Store
from data.targets import kept_pixels, read_views, views_of_frame
from gnfactor.config import Config, DataConfig
from gnfactor.errors import DataError
from gnfactor.evaluation.novel_views import (
    ColourError,
    KnownFeatures,
    ViewScore,
    colour_error,
    object_pixels,
    pooled,
    render_counted,
    scene_volume,
    score_view,
    trained_field,
    workspace_pixels,
)
from gnfactor.model import Policy
from gnfactor.scene import View
from perceiver.volume import Volume

PICTURES = 60
"""How many views of seen and of unseen scenes are rendered unless another number is asked for."""
_GOLDEN = (sqrt(5) - 1) / 2

TrueFeatures = Callable[[EpisodeInfo, int, str, View], KnownFeatures]
"""What a field should render as the features of an episode's view at a frame."""


@dataclass(frozen=True)
class Look:
    """One view of one moment of an episode."""

    info: EpisodeInfo
    frame: int
    view: str


@dataclass(frozen=True)
class FieldReport:
    """Figures of a field on held-out views, over the pixels whose measured surface lies in the policy's box.

    PSNR in dB is that of the mean squared error over all those pixels of all pictures together. None: there was nothing
    to measure it on.
    """

    psnr_seen: float | None
    """Scenes learned from, views never learned from."""
    psnr_unseen: float | None
    """Scenes never learned from."""
    psnr_unseen_mean_picture: float | None
    """What answering with the mean training picture of the same camera would score on the same pixels."""
    psnr_objects: float | None
    """Of unseen scenes, pixels of what the task is about: not background, table or robot."""
    psnr_objects_wrong_volume: float | None
    """The same pixels, rendered from another unseen scene's volume: what memory and an average would score."""
    depth_error_m: float | None
    """Median over all pixels of unseen scenes."""
    depth_error_seen_m: float | None
    ssim_seen: float | None
    """Mean of the pictures' own."""
    ssim_unseen: float | None
    psnr_seen_std: float | None
    """Standard deviation over the pictures' own ratios."""
    psnr_unseen_std: float | None
    feature_cosine: float | None
    """Mean over unseen scenes' pictures; None where no features are learned."""
    feature_cosine_seen: float | None
    pictures_seen: int
    pictures_unseen: int
    pixels_seen: int
    pixels_unseen: int
    pixels_objects: int
    views: tuple[str, ...]
    """Names of the views that were looked through."""
    held_out: bool
    """Whether they were kept from training; else the field has learned from these views of the seen scenes."""

    def figures(self) -> dict[str, Any]:
        """All of it as plain values for JSON, which knows no infinity."""
        figures = asdict(self) | {"views": list(self.views)}
        return {
            name: None if isinstance(value, float) and not isfinite(value) else value for name, value in figures.items()
        }

    def table(self) -> Table:
        """The figures as a person reads them."""
        table = Table(
            title="Held-out views" if self.held_out else "Views learned from", box=SIMPLE, title_justify="left"
        )
        for heading in ("", "seen scenes", "unseen scenes"):
            table.add_column(heading, justify="left" if not heading else "right")
        rows = {
            "PSNR (dB)": (_number(self.psnr_seen), _number(self.psnr_unseen)),
            "  the mean training picture's": ("", _number(self.psnr_unseen_mean_picture)),
            "  on objects": ("", _number(self.psnr_objects)),
            "  on objects, another scene's volume": ("", _number(self.psnr_objects_wrong_volume)),
            "SSIM": (_number(self.ssim_seen, 3), _number(self.ssim_unseen, 3)),
            "depth error (mm, median)": (_mm(self.depth_error_seen_m), _mm(self.depth_error_m)),
            "feature cosine": (_number(self.feature_cosine_seen, 3), _number(self.feature_cosine, 3)),
            "pictures": (str(self.pictures_seen or ""), str(self.pictures_unseen or "")),
        }
        for name, (seen, unseen) in rows.items():
            if seen or unseen:
                table.add_row(name, seen, unseen)
        return table


def measure(
    policy: Policy,
    config: Config,
    store: Store,
    seen: Sequence[EpisodeInfo],
    unseen: Sequence[EpisodeInfo],
    console: Console,
    pictures: int = PICTURES,
) -> FieldReport:
    """Render held-out views (`config.data.views.held_out`; where none are held out, those learned from) and compare.

    Args:
        policy: on any device; its mode is left as it was.
        config: of its training.
        store: what `seen` and `unseen` are in.
        seen: episodes that it learned from.
        unseen: episodes that it was kept from.
        console: for the progress bar.
        pictures: at most so many of seen and of unseen scenes each, spread evenly over episodes, frames and views.

    Raises:
        ConfigError: the policy has no field, or its teacher is needed for features that are not cached and cannot be
            built.
        DataError: an episode is damaged, or none has a view to look through.
    """
    true_features = feature_source(policy, config, store, console)
    seen_looks, unseen_looks = (spread(looks(infos, config.data), pictures) for infos in (seen, unseen))
    if not seen_looks and not unseen_looks:
        raise DataError(
            f"no episode in {store.path} has one of the views {list(config.data.views.held_out)} at a frame that "
            "training starts from; collect with --rig, or name others in data.views.held_out"
        )
    names = tuple(dict.fromkeys(look.view for look in (*seen_looks, *unseen_looks)))
    partners = _partners(unseen)
    with evaluating(policy), progress_bar(console) as bar:
        task = bar.add_task("views", total=len(seen_looks) + len(unseen_looks))
        average = mean_pictures(store, seen, config.data, {look.view for look in unseen_looks})
        seen_scores: list[ViewScore] = []
        unseen_scores: list[ViewScore] = []
        baseline: list[ColourError] = []
        objects: list[ColourError] = []
        wrong: list[ColourError] = []
        for scene in _scenes(policy, store, seen_looks):
            seen_scores += [scene.score(name, true_features) for name in scene.visible()]
            bar.advance(task, len(scene.views))
        for scene in _scenes(policy, store, unseen_looks):
            unseen_scores += [scene.score(name, true_features) for name in scene.visible()]
            baseline += [error for name in scene.visible() if (error := scene.against(average.get(name), name))]
            shown = scene.with_objects()
            objects += [scene.objects(name) for name in shown]
            partner = partners.get(scene.info.name)
            if shown and partner is not None:
                other = _volume(policy, store, partner, _same_moment(scene.info, scene.frame, partner, config.data))
                wrong += [replace(scene, volume=other).objects(name) for name in shown]
            bar.advance(task, len(scene.views))
    return FieldReport(
        psnr_seen=_psnr([score.colour for score in seen_scores]),
        psnr_unseen=_psnr([score.colour for score in unseen_scores]),
        psnr_unseen_mean_picture=_psnr(baseline),
        psnr_objects=_psnr(objects),
        psnr_objects_wrong_volume=_psnr(wrong),
        depth_error_m=_median_m(unseen_scores),
        depth_error_seen_m=_median_m(seen_scores),
        ssim_seen=_mean([score.ssim for score in seen_scores]),
        ssim_unseen=_mean([score.ssim for score in unseen_scores]),
        psnr_seen_std=_spread_of(seen_scores),
        psnr_unseen_std=_spread_of(unseen_scores),
        feature_cosine=_mean([score.cosine for score in unseen_scores if score.cosine is not None]),
        feature_cosine_seen=_mean([score.cosine for score in seen_scores if score.cosine is not None]),
        pictures_seen=len(seen_scores),
        pictures_unseen=len(unseen_scores),
        pixels_seen=sum(score.colour.pixels for score in seen_scores),
        pixels_unseen=sum(score.colour.pixels for score in unseen_scores),
        pixels_objects=sum(error.pixels for error in objects),
        views=names,
        held_out=bool(config.data.views.held_out),
    )


def feature_source(policy: Policy, config: Config, store: Store, console: Console) -> TrueFeatures | None:
    """The features that the policy's field was trained to render, at the pixels that training would keep.

    They come from the store's cache where it has them, else from the teacher. None where no features are learned.

    Raises:
        ConfigError: the policy has no field.
        DataError: a cache is damaged.
    """
    learned = trained_field(policy).config.loss.feature > 0
    if not learned or config.data.views.teacher.name == "none":
        return None

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    source = FeatureSource(store, config.data, next(policy.parameters()).device, say)

    def features(info: EpisodeInfo, frame: int, name: str, view: View) -> KnownFeatures:
        pixel = kept_pixels(view.rgb, config.data.views.pixels)
        known = np.zeros(view.depth_m.shape, np.bool_)
        known[pixel[:, 1], pixel[:, 0]] = True
        return KnownFeatures(known, source(info, frame, name, view, pixel).astype(np.float32))

    return features


def looks(infos: Sequence[EpisodeInfo], config: DataConfig) -> list[Look]:
    """Every view to measure at every frame that training starts from, episode by episode."""
    return [
        Look(info, frame, name)
        for info in infos
        for frame in start_frames(info, config)
        for name in measured_views(info, frame, config)
    ]


def start_frames(info: EpisodeInfo, config: DataConfig) -> list[int]:
    """Frames of an episode that training starts from."""
    return [pair.frame for pair in stored_pairs(info, config.start_every)]


def measured_views(info: EpisodeInfo, frame: int, config: DataConfig) -> list[str]:
    """Views that are held out and stored for this frame; where none are held out at all, those learned from."""
    if not config.views.held_out:
        return list(views_of_frame(info, frame, config.views))
    rig = [view.name for view in info.target_views] if frame in info.target_frames else []
    return [name for name in (*rig, *info.cameras) if name in config.views.held_out]


def spread(offered: Sequence[Look], count: int) -> list[Look]:
    """So many of them in their order, one from each of `count` equal parts, at places that keep step with no period."""
    if count >= len(offered):
        return list(offered)
    ends = [number * len(offered) // count for number in range(count + 1)]
    parts = pairwise(ends)
    return [offered[low + int((number * _GOLDEN % 1) * (high - low))] for number, (low, high) in enumerate(parts)]


def mean_pictures(
    store: Store, infos: Sequence[EpisodeInfo], config: DataConfig, names: set[str]
) -> dict[str, Float[np.ndarray, "height width 3"]]:
    """Mean picture (0 to 1) of each named view over all frames of these episodes that training starts from."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for info in infos:
        offered = {frame: measured_views(info, frame, config) for frame in start_frames(info, config)}
        wanted = {frame: [name for name in there if name in names] for frame, there in offered.items()}
        wanted = {frame: there for frame, there in wanted.items() if there}
        for views in (read_views(store, info, wanted) if wanted else {}).values():
            for name, view in views.items():
                if name in sums and sums[name].shape != view.rgb.shape:
                    raise DataError(f"'{info.name}' in {store.path} has another size of '{name}' than earlier episodes")
                sums[name] = sums.get(name, 0.0) + view.rgb / 255
                counts[name] = counts.get(name, 0) + 1
    return {name: total / counts[name] for name, total in sums.items()}


@dataclass(frozen=True, eq=False)
class EncodedScene:
    """One moment of an episode: what the policy made of it, and what other cameras saw."""

    policy: Policy
    info: EpisodeInfo
    frame: int
    volume: Volume
    views: Mapping[str, View]

    def counted(self, name: str) -> np.ndarray:
        """Pixels of a view (height, width) whose surface lies in the policy's box."""
        return workspace_pixels(self.views[name], self.policy.config.grid.box)

    def visible(self) -> list[str]:
        """Views that show some of the box."""
        return [name for name in self.views if self.counted(name).any()]

    def with_objects(self) -> list[str]:
        """Views that show some of what the task is about."""
        return [name for name in self.views if self._objects(name).any()]

    def score(self, name: str, true_features: TrueFeatures | None) -> ViewScore:
        """How well a view is rendered."""
        view, counted = self.views[name], self.counted(name)
        rendered = render_counted(trained_field(self.policy), self.volume, view.camera, counted)
        feature = None if true_features is None else true_features(self.info, self.frame, name, view)
        return score_view(rendered, view, counted, feature)

    def objects(self, name: str) -> ColourError:
        """How well what the task is about is rendered."""
        view, counted = self.views[name], self._objects(name)
        rendered = render_counted(trained_field(self.policy), self.volume, view.camera, counted)
        colour = np.zeros(view.rgb.shape, np.float32)
        colour[counted] = rendered.colour.numpy()
        return colour_error(colour, view.rgb, counted)

    def against(self, picture: Float[np.ndarray, "height width 3"] | None, name: str) -> ColourError | None:
        """How well a picture would do instead of a rendered one; None where there is none, or it has another size."""
        view = self.views[name]
        if picture is None or picture.shape != view.rgb.shape:
            return None
        return colour_error(picture, view.rgb, self.counted(name))

    def _objects(self, name: str) -> np.ndarray:
        of_task = object_pixels(self.views[name], self.info.labels)
        return self.counted(name) & (False if of_task is None else of_task)


def read_scene(policy: Policy, store: Store, info: EpisodeInfo, frame: int, names: Sequence[str]) -> EncodedScene:
    """A moment of an episode with the named views."""
    return EncodedScene(
        policy, info, frame, _volume(policy, store, info, frame), read_views(store, info, {frame: names})[frame]
    )


@contextmanager
def evaluating(policy: Policy) -> Generator[None]:
    """The policy in evaluation mode, and afterwards in the mode that it was in."""
    training = policy.training
    policy.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        policy.train(training)


def _scenes(policy: Policy, store: Store, chosen: Sequence[Look]) -> Iterator[EncodedScene]:
    """The scenes of some looks, each encoded once; looks of one scene follow one another."""
    for (name, frame), group in groupby(chosen, lambda look: (look.info.name, look.frame)):
        own = list(group)
        assert all(look.info.name == name for look in own)
        yield read_scene(policy, store, own[0].info, frame, [look.view for look in own])


def _volume(policy: Policy, store: Store, info: EpisodeInfo, frame: int) -> Volume:
    part = store.read(info.name, [frame], policy.config.cameras)
    return scene_volume(policy, part.observations[0], info.instructions[0])


def _partners(infos: Sequence[EpisodeInfo]) -> dict[str, EpisodeInfo]:
    """Another episode for each: the next one of its task, else the next one of any; none for one alone."""
    partners: dict[str, EpisodeInfo] = {}
    for place, info in enumerate(infos):
        others = [*infos[place + 1 :], *infos[:place]]
        alike = [other for other in others if other.task == info.task]
        if others:
            partners[info.name] = (alike or others)[0]
    return partners


def _same_moment(info: EpisodeInfo, frame: int, partner: EpisodeInfo, config: DataConfig) -> int:
    """The partner's frame that comes as far on its way as this one does."""
    own, others = start_frames(info, config), start_frames(partner, config)
    share = own.index(frame) / max(1, len(own) - 1) if frame in own else 0.0
    return others[round(share * (len(others) - 1))]


def progress_bar(console: Console) -> Progress:
    """A bar that says what is done and how long it takes yet."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"))
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _psnr(errors: Sequence[ColourError]) -> float | None:
    error = pooled(errors)
    return None if error is None else error.psnr_db


def _median_m(scores: Sequence[ViewScore]) -> float | None:
    return float(np.median(np.concatenate([score.depth_error_m for score in scores]))) if scores else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread_of(scores: Sequence[ViewScore]) -> float | None:
    own = [score.colour.psnr_db for score in scores]
    return float(np.std(own)) if own and np.isfinite(own).all() else None


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _mm(value_m: float | None) -> str:
    return "" if value_m is None else f"{1000 * value_m:.1f}"
