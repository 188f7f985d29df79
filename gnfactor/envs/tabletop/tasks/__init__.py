"""The tasks of the built-in world, by name. A new task is one file and one line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from gnfactor.envs.tabletop.tasks.base import Task
from gnfactor.envs.tabletop.tasks.close_jar import CloseJar
from gnfactor.envs.tabletop.tasks.meat_off_grill import MeatOffGrill
from gnfactor.envs.tabletop.tasks.open_drawer import OpenDrawer
from gnfactor.envs.tabletop.tasks.push_buttons import PushButtons
from gnfactor.envs.tabletop.tasks.put_item_in_drawer import PutItemInDrawer
from gnfactor.envs.tabletop.tasks.reach_and_drag import ReachAndDrag
from gnfactor.envs.tabletop.tasks.slide_block_to_color_target import SlideBlockToColorTarget
from gnfactor.envs.tabletop.tasks.stack_blocks import StackBlocks
from gnfactor.envs.tabletop.tasks.sweep_to_dustpan_of_size import SweepToDustpanOfSize
from gnfactor.envs.tabletop.tasks.turn_tap import TurnTap

TASKS: MappingProxyType[str, Task[Any]] = MappingProxyType(
    {
        task.name: task
        for task in (
            CloseJar(),
            MeatOffGrill(),
            OpenDrawer(),
            PushButtons(),
            PutItemInDrawer(),
            ReachAndDrag(),
            SlideBlockToColorTarget(),
            StackBlocks(),
            SweepToDustpanOfSize(),
            TurnTap(),
        )
    }
)
