"""Shared fixtures; shapes in signatures are checked while tests run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Tensor shapes named in signatures are enforced here and nowhere else: users pay nothing for them.
install_import_hook(["gnfactor", "perceiver"], "beartype.beartype")

# No deadline: the first call of torch in a process takes seconds, and machines are shared.
# The same cases every time, so that a run says something about the change and nothing about luck.
# HYPOTHESIS_PROFILE=search draws others each time, which finds what these cases miss.
settings.register_profile("laws", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "laws"))

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


def pytest_configure() -> None:
    """One thread in each of the processes that share a small machine (`make test` runs two)."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def published() -> Path:
    """Folder of tensors that the published code produced; it is not part of this repository."""
    folder = SHARED / "published"
    if not folder.is_dir():
        pytest.skip(f"the published tensors are not here ({folder})")
    return folder


@pytest.fixture(scope="session")
def real_episodes() -> Path:
    """Folder of five real RLBench demonstrations; it is not part of this repository."""
    folder = SHARED / "rlbench"
    if not folder.is_dir():
        pytest.skip(f"the real demonstrations are not here ({folder})")
    return folder
