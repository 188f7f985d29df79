"""The built-in world: RLBench's table, arm and cameras in MuJoCo, with tasks and a scripted expert.

It needs the extra `sim` and nothing else: no graphics library, no display. Frame, workspace, cameras and the meaning of
an action are RLBench's, so that one configuration trains on either.
"""

from importlib import import_module

from gnfactor.errors import MissingExtraError

try:
    import_module("mujoco")
except ImportError as error:
    raise MissingExtraError("mujoco", "pip install gnfactor[sim]") from error
