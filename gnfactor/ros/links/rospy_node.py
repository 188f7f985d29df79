"""This process as a node of ROS 1: the master it belongs to, the address at which others reach it."""

from __future__ import annotations

import os
import threading
import time
import xmlrpc.client
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from gnfactor.errors import ConfigError, RobotError
from gnfactor.ros.links.messages import ros_module

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = ("localhost", "ip6-localhost", "::1")
_PERIOD_S, _PATIENCE_S = 0.5, 1.0
_UNREACHABLE = (OSError, HTTPException, xmlrpc.client.Error)
_FAILURES = 2
"""So often in a row has it not to answer, to be lost."""


def start_node(uri: str, timeout_s: float) -> bool:
    """Make this process a node.

    Args:
        uri: of the master, as `choose_addresses` has it.
        timeout_s: how long the master may take to appear.

    Returns:
        Whether it has become one now, and was none before.

    Raises:
        MissingExtraError: ROS 1 is not installed.
        RobotError: the master does not answer, or this process has been a node and ended.
    """
    rospy = ros_module("rospy")
    if not _appears(uri, timeout_s):
        raise RobotError(
            f"no ROS master answers at {uri} (link.uri or ROS_MASTER_URI) within {timeout_s} s: start the robot's "
            "software, or correct the address"
        )
    if rospy.core.is_initialized():
        if rospy.is_shutdown():
            raise RobotError("this process was a node of ROS and has ended; ROS 1 takes a new process for a new node")
        return False
    rospy.init_node("gnfactor", anonymous=True, disable_signals=True)
    return True


def choose_addresses(uri: str | None) -> str:
    """Tell rospy, by its environment, where the master is and on which address to be reached; the master's address.

    Without ROS_IP or ROS_HOSTNAME, and with a master on this computer, we listen on the loopback interface only.

    Raises:
        ConfigError: there is no master's address, or none for this computer.
    """
    master = uri or os.environ.get("ROS_MASTER_URI")
    if not master or urlsplit(master).scheme != "http" or not urlsplit(master).hostname:
        raise ConfigError(
            f"the ROS master's address is {master or 'not set'}; something like http://192.168.1.2:11311 is expected: "
            "set link.uri or ROS_MASTER_URI"
        )
    host = str(urlsplit(master).hostname)
    if not (os.environ.get("ROS_IP") or os.environ.get("ROS_HOSTNAME")):
        if host not in _LOOPBACK_NAMES and not host.startswith("127."):
            raise ConfigError(
                f"the ROS master is on another computer, {host}, and ROS_IP is not set: set it to this computer's "
                "address on the robot's own network. rospy then listens on every network of this computer: close the "
                "others by a firewall"
            )
        os.environ["ROS_IP"] = LOOPBACK
    os.environ["ROS_MASTER_URI"] = master
    return master


def send(publisher: Any, message: Any) -> None:
    """Publish a message.

    Raises:
        RobotError: the topic has been closed.
    """
    try:
        publisher.publish(message)
    except ros_module("rospy").ROSException as error:
        raise RobotError(f"nothing can be sent on {publisher.name} any more: {error}") from error


class MasterWatch:
    """Asks the master about twice a second, in a thread, whether it is there; a new one is told what we are."""

    def __init__(self, uri: str) -> None:
        self._uri, self._over = uri, threading.Event()
        self._failures, self._answered_s = 0, time.monotonic()
        threading.Thread(target=self._run, name="master", daemon=True).start()

    def complaint(self) -> str | None:
        """That it is lost, if so."""
        if self._failures < _FAILURES:
            return None
        silent_s = time.monotonic() - self._answered_s
        return f"the ROS master at {self._uri} has not answered for {silent_s:.1f} s"

    def close(self) -> None:
        """Ask no more."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(_PERIOD_S):
            try:
                rejoin(self._uri)
                self._failures, self._answered_s = 0, time.monotonic()
            except Exception:
                self._failures += 1


def rejoin(uri: str) -> None:
    """Tell the master what this node sends and hears, if it does not know: rospy itself does so only once.

    Raises:
        OSError, HTTPException, xmlrpc.client.Error: it does not answer.
    """
    rospy, topics = ros_module("rospy"), ros_module("rospy.topics").get_topic_manager()
    name, address = rospy.get_name(), rospy.get_node_uri()
    with _proxy(uri) as master, _proxy(address) as ourselves:
        known: Any = master.getSystemState(name)
        senders, hearers = ({topic for topic, nodes in part if name in nodes} for part in known[2][:2])
        for topic, kind in topics.get_publications():
            if topic not in senders:
                master.registerPublisher(name, topic, kind, address)
        for topic, kind in topics.get_subscriptions():
            if topic not in hearers:
                answer: Any = master.registerSubscriber(name, topic, kind, address)
                ourselves.publisherUpdate(name, topic, answer[2])


def _appears(uri: str, timeout_s: float) -> bool:
    end_s = time.monotonic() + timeout_s
    while not _answers(uri):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


def _answers(uri: str) -> bool:
    try:
        with _proxy(uri) as master:
            answer: Any = master.getPid("/gnfactor")
        return bool(answer[0] == 1)
    except _UNREACHABLE:
        return False


def _proxy(uri: str) -> xmlrpc.client.ServerProxy:
    return xmlrpc.client.ServerProxy(uri, transport=_Impatient())


class _Impatient(xmlrpc.client.Transport):
    """A connection that does not wait for a computer that has gone."""

    def make_connection(self, host: Any) -> HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = _PATIENCE_S
        return connection
