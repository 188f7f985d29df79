"""The tasks of the built-in world, by name. A new task is one file and one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from gnfactor.envs.tabletop.tasks.base import Task
from gnfactor.envs.tabletop.tasks.close_jar import CloseJar
from gnfactor.envs.tabletop.tasks.open_drawer import OpenDrawer
from gnfactor.envs.tabletop.tasks.push_buttons import PushButtons
from gnfactor.envs.tabletop.tasks.put_item_in_drawer import PutItemInDrawer
from gnfactor.envs.tabletop.tasks.slide_block_to_color_target import SlideBlockToColorTarget

TASKS: MappingProxyType[str, Task[Any]] = MappingProxyType(
    {
        task.name: task
        for task in (CloseJar(), OpenDrawer(), PushButtons(), PutItemInDrawer(), SlideBlockToColorTarget())
    }
)
