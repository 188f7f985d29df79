"""The colour words of the tasks and what they look like.

The twenty names are those of the published benchmark; the values are ours, kept apart by at least 0.3 in RGB so
that shading does not turn one into another.
"""

from __future__ import annotations

from types import MappingProxyType

Rgb = tuple[float, float, float]

COLORS: MappingProxyType[str, Rgb] = MappingProxyType(
    {
        "red": (0.90, 0.06, 0.06),
        "maroon": (0.50, 0.03, 0.10),
        "lime": (0.40, 1.00, 0.10),
        "green": (0.04, 0.50, 0.12),
        "blue": (0.08, 0.20, 0.95),
        "navy": (0.03, 0.06, 0.42),
        "yellow": (1.00, 0.92, 0.08),
        "cyan": (0.10, 0.92, 0.95),
        "magenta": (0.95, 0.10, 0.92),
        "silver": (0.74, 0.75, 0.79),
        "gray": (0.45, 0.45, 0.46),
        "orange": (1.00, 0.52, 0.05),
        "olive": (0.50, 0.50, 0.08),
        "purple": (0.45, 0.05, 0.52),
        "teal": (0.02, 0.48, 0.50),
        "azure": (0.10, 0.58, 1.00),
        "violet": (0.58, 0.28, 1.00),
        "rose": (1.00, 0.20, 0.50),
        "black": (0.04, 0.04, 0.05),
        "white": (1.00, 1.00, 1.00),
    }
)
"""The palette of the benchmark, RGB in 0..1."""

UNSEEN_COLORS: MappingProxyType[str, Rgb] = MappingProxyType(
    {
        "peach": (1.00, 0.75, 0.55),
        "mint": (0.55, 1.00, 0.70),
        "sienna": (0.70, 0.30, 0.22),
        "lavender": (0.82, 0.52, 1.00),
        "indigo": (0.27, 0.00, 0.80),
        "jade": (0.05, 0.80, 0.45),
    }
)
"""Colours that no task uses, as far from all above as those are from each other; only perturbed scenes show them."""

PINK: Rgb = (1.00, 0.50, 0.75)
"""Named by one task only; not one of the twenty."""
