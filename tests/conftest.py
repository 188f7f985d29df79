"""Shared fixtures; shapes in signatures are checked while tests run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Tensor shapes named in signatures are enforced here and nowhere else: users pay nothing for them.
install_import_hook(["gnfactor", "perceiver"], "beartype.beartype")

# No deadline: the first call of torch in a process takes seconds, and machines are shared.
settings.register_profile("laws", deadline=None, max_examples=50)
settings.load_profile("laws")

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
