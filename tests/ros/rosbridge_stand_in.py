"""As much of a rosbridge server as our link needs, on rospy: `python -m tests.ros.rosbridge_stand_in --port 9090`.

rosbridge_suite is in no package that can be had here. This speaks its protocol over real topics, so that our side of it
meets real messages, real action servers and the real watchdog; that rosbridge_suite itself does so is not shown by it.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import cbor2
import rospy
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from gnfactor.ros.links.messages import decode, filled, message_class, plain


class Client:
    """One connection, and its topics."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._publishers: dict[str, tuple[str, rospy.Publisher]] = {}
        self._subscribers: list[rospy.Subscriber] = []

    def hear(self, frame: dict[str, Any]) -> None:
        match frame["op"]:
            case "advertise":
                kind = frame["type"]
                publisher = rospy.Publisher(frame["topic"], message_class(kind), queue_size=10, tcp_nodelay=True)
                self._publishers[frame["topic"]] = (kind, publisher)
            case "subscribe":
                self._subscribe(frame["topic"], frame["compression"] == "cbor-raw", frame["throttle_rate"] / 1000)
            case "publish":
                kind, publisher = self._publishers[frame["topic"]]
                action = kind.removesuffix("ActionGoal") if kind.endswith("ActionGoal") else ""
                publisher.publish(filled(kind, frame["msg"], action))
            case "call_service":
                now = rospy.Time.now()
                values = {"time": {"secs": now.secs, "nsecs": now.nsecs}}
                self._say({"op": "service_response", "id": frame["id"], "values": values, "result": True})
            case other:
                self._say({"op": "status", "level": "error", "msg": f"Unknown operation: {other}"})

    def close(self) -> None:
        for topic in [*self._subscribers, *(publisher for _, publisher in self._publishers.values())]:
            topic.unregister()

    def _subscribe(self, topic: str, is_raw: bool, pause_s: float) -> None:
        sent_s = -math.inf

        def send(message: rospy.AnyMsg) -> None:
            nonlocal sent_s
            if time.monotonic() - sent_s < pause_s:
                return
            sent_s = time.monotonic()
            if is_raw:
                frame = {"op": "publish", "topic": topic, "msg": {"secs": 0, "nsecs": 0, "bytes": message._buff}}
                with suppress(ConnectionClosed):
                    self._socket.send(cbor2.dumps(frame))
                return
            values = plain(decode(message._connection_header, message._buff))
            self._say({"op": "publish", "topic": topic, "msg": _finite(values)})

        self._subscribers.append(rospy.Subscriber(topic, rospy.AnyMsg, send, queue_size=10, tcp_nodelay=True))

    def _say(self, frame: dict[str, Any]) -> None:
        with suppress(ConnectionClosed):
            self._socket.send(json.dumps(frame))


def _finite(value: Any) -> Any:
    """JSON has no numbers that are not finite: null instead, as rosbridge writes them."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def talk(socket: ServerConnection) -> None:
    client = Client(socket)
    try:
        with suppress(ConnectionClosed):
            for text in socket:
                client.hear(json.loads(text))
    finally:
        client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    over = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: over.set())
    rospy.init_node("rosbridge", anonymous=True, disable_signals=True)
    with serve(talk, "127.0.0.1", port, max_queue=None, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("listening", flush=True)
        over.wait()
    rospy.signal_shutdown("asked to end")


if __name__ == "__main__":
    main()
