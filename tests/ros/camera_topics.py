"""A camera of the simulation as ROS has one: colour, depth and intrinsics, named as the RealSense driver does."""

from __future__ import annotations

import numpy as np
import rospy
from sensor_msgs.msg import CameraInfo, Image

from gnfactor.scene import View


class CameraTopics:
    """Topics of one camera."""

    def __init__(self, name: str) -> None:
        self._frame = optical_frame(name)
        self._color = rospy.Publisher(f"/{name}/color/image_raw", Image, queue_size=1)
        self._depth = rospy.Publisher(f"/{name}/aligned_depth_to_color/image_raw", Image, queue_size=1)
        self._info = rospy.Publisher(f"/{name}/color/camera_info", CameraInfo, queue_size=1)

    def publish(self, view: View, stamp: rospy.Time) -> None:
        """RGB in 8 bits, depth in 16 bits of a millimetre, 0 where there is none."""
        camera = view.camera
        info = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", D=[0.0] * 5)
        info.K, info.R = camera.intrinsics.ravel().tolist(), np.eye(3).ravel().tolist()
        info.P = np.column_stack((camera.intrinsics, np.zeros(3))).ravel().tolist()
        depth_mm = (1000 * view.depth_m).round().astype("<u2")
        color, depth = self._image("rgb8", view.rgb), self._image("16UC1", depth_mm)
        for message, publisher in ((info, self._info), (color, self._color), (depth, self._depth)):
            message.header.stamp, message.header.frame_id = stamp, self._frame
            publisher.publish(message)

    @staticmethod
    def _image(encoding: str, pixels: np.ndarray) -> Image:
        height, width = pixels.shape[:2]
        return Image(height=height, width=width, encoding=encoding, step=pixels.nbytes // height, data=pixels.tobytes())


def optical_frame(camera: str) -> str:
    """Frame of a camera in OpenCV's convention."""
    return f"{camera}_color_optical_frame"
