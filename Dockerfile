# Two images from one file:
#   docker build --target train -t gnfactor .            training and the built-in world
#   docker build --target rlbench -t gnfactor-rlbench .  the same with CoppeliaSim, PyRep, RLBench and pytorch3d
#   docker run --gpus all --rm -it -v "$PWD/runs:/work/runs" gnfactor make demo
# Weights of foundation models are in neither; mount those you have: -v "$HOME/.cache/huggingface:/root/.cache/huggingface"
# Versions of Python packages stand in pyproject.toml; those of what is not on PyPI stand here.

FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS train
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.12 python3.12-venv make git ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /work
COPY pyproject.toml README.md LICENSE Makefile ./
COPY tools tools
COPY gnfactor gnfactor
COPY perceiver perceiver
RUN make env PYTHON=python3.12
COPY . .
ENV PATH=/work/.venv/bin:$PATH

FROM train AS rlbench
# CoppeliaSim's Edu licence is for education and research: read it before you build this image.
ARG COPPELIASIM=CoppeliaSim_Edu_V4_1_0_Ubuntu20_04
ARG PYREP_COMMIT=8f420be8064b1970aae18a9cfbc978dfb15747ef
ARG RLBENCH_COMMIT=02720bba4c73fe02eb75df946b8791b806028a9d
ARG PYTORCH3D_VERSION=v0.7.9
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential cmake curl xz-utils xvfb libgl1 libegl1 libglu1-mesa libxkbcommon-x11-0 libxcb-cursor0 \
        libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-xinerama0 libdbus-1-3 python3.12-dev \
    && rm -rf /var/lib/apt/lists/*
ENV COPPELIASIM_ROOT=/opt/coppeliasim
RUN mkdir -p "$COPPELIASIM_ROOT" \
    && curl -fsSL "https://downloads.coppeliarobotics.com/V4_1_0/$COPPELIASIM.tar.xz" \
    | tar -xJ -C "$COPPELIASIM_ROOT" --strip-components 1
ENV LD_LIBRARY_PATH=$COPPELIASIM_ROOT QT_QPA_PLATFORM_PLUGIN_PATH=$COPPELIASIM_ROOT
RUN python -m pip install --no-build-isolation "git+https://github.com/stepjam/PyRep.git@$PYREP_COMMIT" \
    && python -m pip install --no-build-isolation "git+https://github.com/stepjam/RLBench.git@$RLBENCH_COMMIT" \
    && python -m pip install --no-build-isolation \
        "git+https://github.com/facebookresearch/pytorch3d.git@$PYTORCH3D_VERSION"
