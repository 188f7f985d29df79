"""Services under /simulation/ that no real robot has: what breaks, what a hand does, which scene stands there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rospy
from std_srvs.srv import SetBool, SetBoolResponse, Trigger, TriggerResponse

from gnfactor.envs.base import SeededScene
from tests.ros.simulation import Simulation


@dataclass
class Faults:
    """What is broken now."""

    no_camera: bool = False
    stale_pictures: bool = False
    """Pictures are stamped with a time long ago."""
    stale_states: bool = False
    silent_state: bool = False
    """The robot says nothing about itself."""


def serve_switches(simulation: Simulation, faults: Faults) -> None:
    """Advertise the services."""

    def camera(on: bool) -> None:
        faults.no_camera = not on

    def stale_pictures(on: bool) -> None:
        faults.stale_pictures = on

    def stale_states(on: bool) -> None:
        faults.stale_states = on

    def stale_stamps(on: bool) -> None:
        faults.stale_pictures = faults.stale_states = on

    def silent_state(on: bool) -> None:
        faults.silent_state = on

    def user_stop(on: bool) -> None:
        with simulation.lock:
            (simulation.panda.press_stop if on else simulation.panda.release_stop)()

    def guide(on: bool) -> None:
        with simulation.lock:
            (simulation.panda.give_to_hand if on else simulation.panda.take_from_hand)()

    def force_reflex() -> str:
        with simulation.lock:
            at_s = time.time()
            simulation.panda.trip("forced by the test")
        return str(at_s)

    def reset() -> str:
        wanted = rospy.get_param("/simulation/scene")
        simulation.reset(SeededScene(wanted["task"], wanted["variation"], wanted["seed"]))
        return ""

    for switch in (camera, stale_pictures, stale_states, stale_stamps, silent_state, user_stop, guide):
        rospy.Service(f"/simulation/{switch.__name__}", SetBool, _switched(switch))
    for name, work in (
        ("force_reflex", force_reflex),
        ("reset", reset),
        ("instructions", simulation.instructions),
        ("expert", simulation.next_waypoint),
    ):
        rospy.Service(f"/simulation/{name}", Trigger, _told(work))


def _switched(switch: Callable[[bool], None]) -> Callable[[Any], SetBoolResponse]:
    def answer(request: Any) -> SetBoolResponse:
        at_s = time.time()
        switch(request.data)
        return SetBoolResponse(True, str(at_s))

    return answer


def _told(work: Callable[[], str]) -> Callable[[Any], TriggerResponse]:
    return lambda _: TriggerResponse(True, work())
