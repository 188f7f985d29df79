from __future__ import annotations

import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnfactor.errors import RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import JointTrajectory
from gnfactor.ros.rosbridge import PING_S, PONG_S
from gnfactor.ros.rosbridge_link import RosbridgeLink
from tests.bridged_robot import Robot
from tests.rosbridge_lab import config_of, lab, linked, target_of, wait_until
from tests.rosbridge_server import Bridge

SECRET = "open-sesame-and-nothing-else"
NOTICED_S = 0.3
"""Within which a closed connection is noticed by whoever moves the arm."""


def move_until_lost(link: RosbridgeLink, sequence: int) -> tuple[RobotError, float]:
    """Stream small targets until it raises; what, and seconds since the call."""
    began_s = time.monotonic()
    while True:
        try:
            link.stream(target_of(link, sequence, lift_m=0.01))
            link.wait(0.02)
        except RobotError as error:
            return error, time.monotonic() - began_s
        sequence += 1


def test_a_killed_bridge_is_said_at_once_held_by_the_watchdog_and_comes_back_after_a_hold() -> None:
    config = config_of(1, "impedance")
    robot = Robot(config)
    server = Bridge(robot)
    link = RosbridgeLink(replace(config, link=replace(config.link, uri=server.uri)))
    try:
        link.hold()
        link.stream(target_of(link, 1, lift_m=0.01))
        link.wait(0.1)
        threading.Timer(0.2, server.kill).start()
        error, moved_s = move_until_lost(link, 2)
        assert "cannot be reached" in str(error) or "is lost" in str(error)
        assert moved_s < 0.2 + NOTICED_S
        held_s = wait_until(lambda: robot.fake.holding)
        assert held_s < config.watchdog.timeout_s + NOTICED_S
        for ask in (link.state, link.progress, link.hold, link.now_s, lambda: link.observe(0.1)):
            with pytest.raises(RobotError, match="the bridge at ws://127"):
                ask()

        server = Bridge(robot, port=server.port)
        wait_until(lambda: link._transport.loss() is None, seconds=4)
        wait_until(lambda: link.state() is not None)
        with pytest.raises(RobotError, match=r"lost.*hold before the next motion"):
            link.stream(target_of(link, 1000))
        wait_until(lambda: link._transport.sensors.silence_s(config.topics.watchdog) > 0)
        link.hold()
        link.stream(target_of(link, 1001, lift_m=0.01))
        wait_until(lambda: not robot.fake.holding)
        link.hold()
        assert link.observe(0.5)
    finally:
        link.close()
        server.kill()
        robot.close()


def test_a_goal_that_was_under_way_when_the_connection_was_lost_has_failed_and_ends_with_the_next_hold() -> None:
    config = config_of(2, "trajectory")
    robot = Robot(config)
    server = Bridge(robot)
    link = RosbridgeLink(replace(config, link=replace(config.link, uri=server.uri)))
    try:
        joints = link.state().joint_positions
        way = np.linspace(joints, joints + 0.3, 4)[1:]
        link.start_trajectory(
            JointTrajectory(1, link.now_s() + 60, np.array([10.0, 20.0, 30.0]), way, np.zeros_like(way))
        )
        wait_until(lambda: link.progress().status == "running" and bool(robot.took))
        server.kill()
        wait_until(lambda: link._transport.loss() is not None)
        server = Bridge(robot, port=server.port)
        wait_until(lambda: link._transport.loss() is None, seconds=4)
        wait_until(lambda: link.state() is not None)
        assert link.progress().status == "failed"
        assert "the bridge at ws://127.0.0.1" in link.progress().message
        assert not robot.fake.holding
        link.hold()
        wait_until(lambda: robot.fake.holding)
    finally:
        link.close()
        server.kill()
        robot.close()


class Wire:
    """A line to a server that can be cut without a word."""

    def __init__(self, port: int) -> None:
        self._target, self.is_cut = port, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(2**16):
                while self.is_cut:
                    time.sleep(0.01)
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.is_cut = False
        for one in (self._listener, *self._sockets):
            one.close()


def test_a_line_that_is_cut_without_a_word_is_noticed() -> None:
    config = config_of(1, "impedance")
    with lab(config) as (named, robot, server):
        wire = Wire(server.port)
        link = RosbridgeLink(replace(named, link=replace(named.link, uri=f"ws://127.0.0.1:{wire.port}")))
        try:
            link.hold()
            link.stream(target_of(link, 1, lift_m=0.01))
            link.wait(0.1)
            wire.is_cut = True
            held_s = wait_until(lambda: robot.fake.holding)
            assert held_s < config.watchdog.timeout_s + NOTICED_S
            _, moved_s = move_until_lost(link, 2)
            assert moved_s < 1.0 + NOTICED_S, "the state of the robot is silent for a second"
            wait_until(lambda: "cannot be reached" in str(link._transport.loss()), PING_S + 2 * PONG_S + 1)
            wire.is_cut = False
            wait_until(lambda: link._transport.loss() is None, seconds=5)
            link.hold()
        finally:
            link.close()
            wire.close()


def test_a_closed_link_says_so_and_closes_twice() -> None:
    with linked(config_of(1, "impedance")) as (link, _, _):
        link.close()
        link.close()
        with pytest.raises(RobotError, match="this link is closed"):
            link.hold()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for this computer that vouches for itself, and a server's side with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ("-subj", "/CN=robot", "-addext", "subjectAltName=IP:127.0.0.1")
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    subprocess.run(
        [openssl, "req", *kind, *subject, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def secured(config: RobotConfig, server: Bridge, **link: object) -> RobotConfig:
    uri = f"wss://127.0.0.1:{server.port}"
    return replace(config, link=replace(config.link, uri=uri, **link))  # type: ignore[arg-type]


def test_a_bridge_behind_tls_is_known_by_its_certificate(authority: tuple[Path, ssl.SSLContext]) -> None:
    certificate, context = authority
    with lab(config_of(1, "impedance"), tls=context) as (config, _, server):
        link = RosbridgeLink(secured(config, server, tls_ca=str(certificate)))
        assert link.observe(0.5)
        link.close()


def test_a_bridge_that_cannot_prove_who_it_is_is_refused(authority: tuple[Path, ssl.SSLContext]) -> None:
    with lab(config_of(1, "impedance"), tls=authority[1]) as (config, _, server):
        named = secured(config, server, timeout_s=1.0)
        with pytest.raises(RobotError, match=r"cannot be reached: .*certificate verify failed.*link.tls_ca"):
            RosbridgeLink(named)


@contextmanager
def overheard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything that is logged meanwhile, at every level; the secret must not be in it."""
    with caplog.at_level(logging.DEBUG):
        yield
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    assert SECRET not in "\n".join(record.getMessage() for record in ours)


@pytest.mark.parametrize("auth", ["rosauth", "bearer"])
def test_the_secret_opens_the_bridge_and_is_nowhere_to_be_read(
    auth: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    asks = {"rosauth": {"rosauth_secret": SECRET}, "bearer": {"bearer": SECRET}}[auth]
    with overheard(caplog), lab(config_of(1, "impedance"), **asks) as (config, _, _):
        link = RosbridgeLink(replace(config, link=replace(config.link, token_file=str(token), auth=auth)))  # type: ignore[arg-type]
        assert link.observe(0.5)
        assert SECRET not in repr(vars(link._transport))
        link.close()


@pytest.mark.parametrize("auth", ["rosauth", "bearer"])
@pytest.mark.parametrize("given", ["another-word", None])
def test_a_wrong_secret_or_none_is_refused_and_not_repeated(
    auth: str, given: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text(given or "")
    asks = {"rosauth": {"rosauth_secret": SECRET}, "bearer": {"bearer": SECRET}}[auth]
    with overheard(caplog), lab(config_of(1, "impedance"), **asks) as (config, _, _):
        file = None if given is None else str(token)
        named = replace(config, link=replace(config.link, token_file=file, auth=auth, timeout_s=1.0))  # type: ignore[arg-type]
        with pytest.raises(RobotError, match=r"link.token_file") as caught:
            RosbridgeLink(named)
        assert "another-word" not in str(caught.value)
        assert {"bearer": "401", "rosauth": "token"}[auth] in str(caught.value)


def test_a_bridge_that_sends_us_elsewhere_is_not_obeyed() -> None:
    config = config_of(1, "impedance", "link.timeout_s=0.5")
    with lab(config) as (_, _, other), lab(config, sends_on_to=other.uri) as (named, _, _):
        with pytest.raises(RobotError, match=r"cannot be reached: .*(redirect|302)"):
            RosbridgeLink(named)
        assert other._clients == []


def test_a_thread_is_not_left_behind() -> None:
    before = threading.active_count()
    with lab(config_of(1, "impedance")) as (config, _, _):
        within = threading.active_count()
        link = RosbridgeLink(config)
        assert any(thread.name == "rosbridge" for thread in threading.enumerate())
        link.close()
        wait_until(lambda: threading.active_count() <= within + 1)  # the server's side of the connection may end later
        assert not any(thread.name == "rosbridge" for thread in threading.enumerate())
    wait_until(lambda: threading.active_count() <= before)
