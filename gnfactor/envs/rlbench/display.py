"""A display for CoppeliaSim, which draws nothing without an X server, not even without a window."""

from __future__ import annotations

import os
import shutil
import subprocess

from gnfactor.errors import SimulatorError

_VIRTUAL = """\
Xvfb -displayfd 3 -screen 0 1280x1024x24 +extension GLX -nolisten tcp 3>&1 >/dev/null 2>&1 &
exec >/dev/null
cat
kill $!
wait"""
"""Tells the display's number, and serves until its input is closed, as it is when the process that asked for it is
gone, however that ended."""


class Display:
    """The display that this process draws on: the one that is there, or else a virtual one (Xvfb) of its own.

    Raises:
        SimulatorError: there is none and none can be made.
    """

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None
        if os.environ.get("DISPLAY"):
            return
        if shutil.which("Xvfb") is None:
            raise SimulatorError(
                "CoppeliaSim draws its pictures on a display, also without a window, and here is none: DISPLAY is not "
                "set, and neither Xvfb nor xvfb-run is installed; install them (apt-get install xvfb), which is all "
                "that is needed, or set DISPLAY to an X server with OpenGL"
            )
        self._server = subprocess.Popen(  # noqa: S603 (nothing in it comes from outside)
            ["sh", "-c", _VIRTUAL],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        number = self._server.stdout.readline().strip()
        if not number.isdigit():
            self.close()
            raise SimulatorError(
                "Xvfb is installed but gave no display; try `xvfb-run -a glxinfo` to see why, or set DISPLAY to an X "
                "server with OpenGL"
            )
        os.environ["DISPLAY"] = f":{number}"

    def close(self) -> None:
        """End the virtual display; safe to call twice."""
        if self._server is None:
            return
        self._server.communicate("")
        self._server = None
        os.environ.pop("DISPLAY", None)
