# Three images from one file; docs/install.md says which one is for whom.
#   docker build --target robot -t gnfactor-robot .       a policy beside a robot: no simulator, no training
#   docker build --target train -t gnfactor .             training and the built-in world, on CUDA
#   docker build --target rlbench -t gnfactor-rlbench \
#       --build-arg ACCEPT_COPPELIASIM_LICENSE=yes --build-arg ACCEPT_RLBENCH_LICENSE=yes .
# Versions of Python packages stand in pyproject.toml (tools/pins.py prints them), those of what is not on PyPI here.
# Weights of foundation models are in none of them: mount those you have.
# hadolint global ignore=DL3008
# (no versions of Debian's packages: Debian removes a version when it mends it, so that a pin stops building)

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS python
ENV DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

FROM python AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY tools tools
COPY gnfactor gnfactor
COPY perceiver perceiver
RUN python tools/pins.py pinned > constraints.txt \
    && python tools/pins.py pinned torch > torch.txt \
    && python -m pip wheel --no-deps --wheel-dir wheels .

FROM python AS robot
# For a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=wheel /build/constraints.txt /build/torch.txt /build/wheels/ /wheels/
RUN python -m pip install --index-url "$TORCH_INDEX" -r /wheels/torch.txt \
    && python -m pip install -c /wheels/constraints.txt "$(ls /wheels/*.whl)[robot]" \
    && python -m pip check \
    && useradd --create-home --uid 1000 robot
USER 1000
WORKDIR /home/robot
COPY configs/robot configs/robot
RUN python -c "import gnfactor.agent, gnfactor.checkpoint, perceiver"

FROM python AS train
ARG TORCH_INDEX=https://pypi.org/simple
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /work
COPY pyproject.toml README.md LICENSE Makefile ./
COPY tools tools
# torch first: no driver is seen while an image is built, so that `make env` might take a build without CUDA.
RUN python tools/pins.py pinned torch > /tmp/torch.txt \
    && python -m venv .venv \
    && .venv/bin/python -m pip install --index-url "$TORCH_INDEX" -r /tmp/torch.txt \
    && .venv/bin/python -c "import torch; assert torch.version.cuda, f'torch {torch.__version__} has no CUDA'"
COPY gnfactor gnfactor
COPY perceiver perceiver
RUN make env
COPY . .
ENV PATH=/work/.venv/bin:$PATH

FROM train AS rlbench
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG ACCEPT_COPPELIASIM_LICENSE=
ARG ACCEPT_RLBENCH_LICENSE=
RUN if [ "$ACCEPT_COPPELIASIM_LICENSE" != yes ] || [ "$ACCEPT_RLBENCH_LICENSE" != yes ]; then \
        echo "This image holds two programs whose licences you have to accept yourself, not we for you:" >&2; \
        echo "- CoppeliaSim Edu, for education and research: https://www.coppeliarobotics.com" >&2; \
        echo "- RLBench: https://github.com/stepjam/RLBench/blob/master/LICENSE" >&2; \
        echo "Read both. If you accept them, add --build-arg ACCEPT_COPPELIASIM_LICENSE=yes" \
            "--build-arg ACCEPT_RLBENCH_LICENSE=yes. Do not hand the image on." >&2; \
        exit 1; \
    fi
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential curl xz-utils xauth xvfb \
        libdbus-1-3 libegl1 libfontconfig1 libfreetype6 libgl1 libgl1-mesa-dri libglib2.0-0 libglu1-mesa libice6 \
        libsm6 libx11-xcb1 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 \
        libxcb-xinerama0 libxcb-xkb1 libxcursor1 libxi6 libxinerama1 libxkbcommon-x11-0 libxrandr2 libxrender1 \
    && rm -rf /var/lib/apt/lists/*
# The checksum is that which others publish for this archive; we have not had it in our hands.
ARG COPPELIASIM_URL=https://downloads.coppeliarobotics.com/V4_1_0/CoppeliaSim_Edu_V4_1_0_Ubuntu20_04.tar.xz
ARG COPPELIASIM_SHA256=512de3a7347387fcc1b12fa675195a912265753f7901808382865bbf51a2a7f8
ENV COPPELIASIM_ROOT=/opt/coppeliasim
RUN curl -fsSL --retry 3 -o /tmp/coppeliasim.tar.xz "$COPPELIASIM_URL" \
    && echo "$COPPELIASIM_SHA256  /tmp/coppeliasim.tar.xz" | sha256sum --check --strict - \
    && mkdir -p "$COPPELIASIM_ROOT" \
    && tar -xJf /tmp/coppeliasim.tar.xz -C "$COPPELIASIM_ROOT" --strip-components 1 \
    && rm /tmp/coppeliasim.tar.xz
ENV LD_LIBRARY_PATH=$COPPELIASIM_ROOT QT_QPA_PLATFORM_PLUGIN_PATH=$COPPELIASIM_ROOT
# PerAct's fork has the ten published tasks; docs/install.md says what the other ones are for. Without dependencies,
# because RLBench asks for a PyRep of no particular commit.
ARG PYREP_COMMIT=8f420be8064b1970aae18a9cfbc978dfb15747ef
ARG RLBENCH_REPOSITORY=https://github.com/MohitShridhar/RLBench.git
ARG RLBENCH_COMMIT=ad991951bc53e4f3b73b803a75cf4b7d55295cf7
RUN python tools/pins.py pinned > /tmp/pinned.txt \
    && python tools/pins.py compiled > /tmp/compiled.txt \
    && python -m pip install -c /tmp/pinned.txt -r /tmp/compiled.txt \
    && python -m pip install --no-build-isolation --no-deps "git+https://github.com/stepjam/PyRep.git@$PYREP_COMMIT" \
    && python -m pip install --no-build-isolation --no-deps "git+$RLBENCH_REPOSITORY@$RLBENCH_COMMIT" \
    && python -c "import rlbench"
# pytorch3d 0.7.9. No CUDA compiler is here: what we use of it are tensor operations, which run on a GPU all the same.
ARG PYTORCH3D_COMMIT=33824be3cbc87a7dd1db0f6a9a9de9ac81b2d0ba
RUN python -m pip install --no-build-isolation --no-deps \
        "git+https://github.com/facebookresearch/pytorch3d.git@$PYTORCH3D_COMMIT" \
    && python -c "import pytorch3d.renderer"
