"""A client of the rosbridge protocol (version 2) over one websocket, which is opened again whenever it is lost.

A thread of its own reads; whoever sends does so from its own thread. While the connection is lost, everything raises.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from socket import create_connection
from threading import Condition, Event, Thread, current_thread
from typing import Any
from uuid import uuid4

from gnfactor.errors import MissingExtraError, RobotError
from gnfactor.ros.links.bridge_access import BridgeAccess
from gnfactor.ros.links.bridge_messages import INSTALL, BridgeMessages, with_attributes

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 2.0
"""Between attempts to connect."""
OPEN_S = 3.0
PING_S, PONG_S = 1.0, 1.0
"""A connection that is cut without a word is noticed after both."""
LARGEST_FRAME = 2**26
_LONGEST_COMPLAINT = 300
_QUIET = logging.getLogger(f"{__name__}.websockets")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_QUIET.setLevel(logging.CRITICAL)  # websockets logs headers, and one of them may be a secret


@dataclass(frozen=True)
class Subscription:
    """What is wanted of one topic."""

    kind: str
    take: Callable[[Any], None]
    """Is handed every message, in the thread that reads."""
    raw: bool = False
    """As ROS's own bytes."""
    pause_ms: int = 0
    """Least time between two messages; those between are left out."""
    newest_only: bool = False
    """Leave out what has been overtaken when the network is slow."""


class Rosbridge:
    """One connection, and what is to be said at the beginning of each."""

    def __init__(self, access: BridgeAccess, messages: BridgeMessages) -> None:
        """Nothing is connected before `start`.

        Raises:
            MissingExtraError: the package websockets is not installed.
        """
        try:
            from websockets.exceptions import WebSocketException  # noqa: PLC0415 (optional)
            from websockets.sync.client import connect  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtraError("websockets", INSTALL) from error
        self._access, self._messages = access, messages
        self._connect, self._failures = connect, (OSError, ValueError, WebSocketException)
        self._subscriptions: dict[str, Subscription] = {}
        self._advertised: dict[str, str] = {}
        self._answers: dict[str, Future[Mapping[str, Any]]] = {}
        self._session, self._numbers = f"gnfactor-{uuid4().hex[:12]}", count(1)
        self._socket: Any = None
        self._connections = 0
        self._why = "it has not been reached yet"
        self._changed = Condition()
        self._over = Event()
        self._thread = Thread(target=self._run, name="rosbridge", daemon=True)
        self._complaints = deque[str](maxlen=4)

    @property
    def connections(self) -> int:
        """How often it has connected so far."""
        return self._connections

    def subscribe(self, topic: str, subscription: Subscription) -> None:
        """Listen to a topic; before `start`."""
        self._subscriptions[topic] = subscription

    def advertise(self, topic: str, kind: str) -> None:
        """Get ready to publish to a topic; before `start`."""
        self._advertised[topic] = kind

    def start(self, timeout_s: float) -> None:
        """Connect.

        Raises:
            RobotError: it takes longer.
        """
        self._thread.start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._socket is not None, timeout_s):
                raise RobotError(self._lost(self._why))

    @property
    def complaints(self) -> tuple[str, ...]:
        """The last things that went wrong without ending the connection, such as an unknown type of message."""
        return tuple(self._complaints)

    def complain(self, about: str) -> None:
        """Keep what went wrong, once."""
        if about not in self._complaints:
            self._complaints.append(about)

    def loss(self) -> str | None:
        """Why nothing can be sent, if so."""
        return None if self._socket is not None else self._lost(self._why)

    def publish(self, topic: str, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            RobotError: the connection is lost.
        """
        self.send({"op": "publish", "topic": topic, "msg": message})

    def next_number(self) -> str:
        """For a request; no other has it."""
        return f"{self._session}-{next(self._numbers)}"

    def request(self, operation: dict[str, Any], number: str) -> Future[Mapping[str, Any]]:
        """Send what will be answered under a number of its own; the answer is the frame that has it.

        The future ends with a RobotError where the connection is lost before. Its callbacks run in the thread that
        reads.

        Raises:
            RobotError: the connection is lost.
        """
        answer = Future[Mapping[str, Any]]()
        self._answers[number] = answer
        try:
            self.send({**operation, "id": number})
        except RobotError:
            self._answers.pop(number, None)
            raise
        return answer

    def send(self, operation: dict[str, Any]) -> None:
        """Send one operation of the protocol.

        Raises:
            RobotError: the connection is lost.
        """
        socket = self._socket
        if socket is None:
            raise RobotError(self._lost(self._why))
        try:
            socket.send(json.dumps(operation, allow_nan=False))
        except self._failures as error:
            raise RobotError(self._lost(_words(error))) from error

    def close(self) -> None:
        """Disconnect for good; safe to call twice."""
        self._over.set()
        socket = self._socket
        if socket is not None:
            socket.close()
        if self._thread.is_alive() and self._thread is not current_thread():
            self._thread.join(OPEN_S)

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._over.is_set():
            try:
                with self._open() as socket:
                    self._greet(socket)
                    wait_s = FIRST_WAIT_S
                    for data in socket:
                        self._hear(data)
                self._drop("it closed the connection; does it want a token, or another one?")
            except Exception as error:
                self._drop(_words(error))
            self._over.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _open(self) -> Any:
        access = self._access
        # With a socket of ours, websockets refuses to be sent on to another address.
        line = create_connection((access.host, access.port), OPEN_S)
        line.settimeout(None)
        return self._connect(
            access.uri,
            sock=line,
            ssl=access.tls,
            additional_headers=dict(access.headers),
            compression=None,
            open_timeout=OPEN_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            close_timeout=PONG_S,
            max_size=LARGEST_FRAME,
            logger=_QUIET,
        )

    def _greet(self, socket: Any) -> None:
        """Prove who we are, say what we want, and let others send."""
        greeting = self._access.greeting(time.time)
        wishes: list[dict[str, Any]] = [
            {"op": "advertise", "topic": topic, "type": kind} for topic, kind in self._advertised.items()
        ]
        for topic, wanted in self._subscriptions.items():
            wishes.append(
                {
                    "op": "subscribe",
                    "topic": topic,
                    "type": wanted.kind,
                    "compression": "cbor-raw" if wanted.raw else "none",
                    "throttle_rate": wanted.pause_ms,
                    "queue_length": int(wanted.newest_only),
                }
            )
        if greeting is not None:
            wishes.insert(0, greeting)
        for wish in wishes:
            socket.send(json.dumps(wish))
        with self._changed:
            self._socket, self._connections = socket, self._connections + 1
            self._changed.notify_all()

    def _hear(self, data: str | bytes) -> None:
        try:
            frame = self._messages.frame(data)
            if frame["op"] == "publish" and frame["topic"] in self._subscriptions:
                wanted, content = self._subscriptions[frame["topic"]], frame["msg"]
                wanted.take(
                    self._messages.raw(wanted.kind, content["bytes"]) if wanted.raw else with_attributes(content)
                )
            elif frame["op"] in ("service_response", "action_result"):
                answer = self._answers.pop(frame.get("id", ""), None)
                if answer is not None:
                    answer.set_result(frame)
            elif frame["op"] == "status" and frame["level"] in ("error", "warning"):
                self.complain(str(frame["msg"]))
        except Exception as error:
            self.complain(f"the bridge sent what cannot be read: {error}"[:_LONGEST_COMPLAINT])

    def _drop(self, why: str) -> None:
        with self._changed:
            self._socket, self._why = None, why
            self._changed.notify_all()
        while self._answers:
            _, answer = self._answers.popitem()
            answer.set_exception(RobotError(self._lost(self._why)))

    def _lost(self, why: str) -> str:
        return (
            f"the bridge at {self._access.uri} cannot be reached: {why}. Is rosbridge_server running there, and "
            "do link.uri, link.tls_ca and link.token_file fit it?"
        )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
