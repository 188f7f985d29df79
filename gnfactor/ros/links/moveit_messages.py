"""Fields of MoveIt's action for planning and moving (ROS 1), for computers without MoveIt's packages of messages.

An interface, written down: names, types and their order, which the checksum of the action holds together. Most of it
stays empty in every goal of ours, but has to be there.
"""

from __future__ import annotations

from collections.abc import Mapping

GOAL = "MotionPlanRequest request\nPlanningOptions planning_options"
RESULT = (
    "MoveItErrorCodes error_code\nRobotState trajectory_start\nRobotTrajectory planned_trajectory\n"
    "RobotTrajectory executed_trajectory\nfloat64 planning_time"
)
FEEDBACK = "string state"
STANDARD = (
    *("sensor_msgs/JointState", "sensor_msgs/MultiDOFJointState"),
    *("trajectory_msgs/JointTrajectory", "trajectory_msgs/MultiDOFJointTrajectory"),
    *("geometry_msgs/PoseStamped", "geometry_msgs/TransformStamped", "geometry_msgs/AccelStamped"),
    *("geometry_msgs/TwistStamped", "std_msgs/ColorRGBA"),
)
"""Messages of other packages that come with ROS itself, whose own parts included are all that is needed."""
ERROR_CODES: Mapping[str, int] = {
    "SUCCESS": 1,
    "FAILURE": 99999,
    "PLANNING_FAILED": -1,
    "INVALID_MOTION_PLAN": -2,
    "MOTION_PLAN_INVALIDATED_BY_ENVIRONMENT_CHANGE": -3,
    "CONTROL_FAILED": -4,
    "UNABLE_TO_AQUIRE_SENSOR_DATA": -5,
    "TIMED_OUT": -6,
    "PREEMPTED": -7,
    "START_STATE_IN_COLLISION": -10,
    "START_STATE_VIOLATES_PATH_CONSTRAINTS": -11,
    "START_STATE_INVALID": -26,
    "GOAL_IN_COLLISION": -12,
    "GOAL_VIOLATES_PATH_CONSTRAINTS": -13,
    "GOAL_CONSTRAINTS_VIOLATED": -14,
    "GOAL_STATE_INVALID": -27,
    "UNRECOGNIZED_GOAL_TYPE": -28,
    "INVALID_GROUP_NAME": -15,
    "INVALID_GOAL_CONSTRAINTS": -16,
    "INVALID_ROBOT_STATE": -17,
    "INVALID_LINK_NAME": -18,
    "INVALID_OBJECT_NAME": -19,
    "FRAME_TRANSFORM_FAILURE": -21,
    "COLLISION_CHECKING_UNAVAILABLE": -22,
    "ROBOT_STATE_STALE": -23,
    "SENSOR_INFO_STALE": -24,
    "COMMUNICATION_FAILURE": -25,
    "CRASH": -29,
    "ABORT": -30,
    "NO_IK_SOLUTION": -31,
}
"""How a plan or its execution ended; what MoveIt answers when it cannot."""
PARTS: Mapping[str, str] = {
    "moveit_msgs/MotionPlanRequest": (
        "WorkspaceParameters workspace_parameters\nRobotState start_state\nConstraints[] goal_constraints\n"
        "Constraints path_constraints\nTrajectoryConstraints trajectory_constraints\n"
        "GenericTrajectory[] reference_trajectories\nstring pipeline_id\nstring planner_id\nstring group_name\n"
        "int32 num_planning_attempts\nfloat64 allowed_planning_time\nfloat64 max_velocity_scaling_factor\n"
        "float64 max_acceleration_scaling_factor\nstring cartesian_speed_limited_link\nfloat64 max_cartesian_speed"
    ),
    "moveit_msgs/WorkspaceParameters": (
        "Header header\ngeometry_msgs/Vector3 min_corner\ngeometry_msgs/Vector3 max_corner"
    ),
    "moveit_msgs/RobotState": (
        "sensor_msgs/JointState joint_state\nsensor_msgs/MultiDOFJointState multi_dof_joint_state\n"
        "AttachedCollisionObject[] attached_collision_objects\nbool is_diff"
    ),
    "moveit_msgs/AttachedCollisionObject": (
        "string link_name\nCollisionObject object\nstring[] touch_links\n"
        "trajectory_msgs/JointTrajectory detach_posture\nfloat64 weight"
    ),
    "moveit_msgs/CollisionObject": (
        "Header header\ngeometry_msgs/Pose pose\nstring id\nobject_recognition_msgs/ObjectType type\n"
        "shape_msgs/SolidPrimitive[] primitives\ngeometry_msgs/Pose[] primitive_poses\nshape_msgs/Mesh[] meshes\n"
        "geometry_msgs/Pose[] mesh_poses\nshape_msgs/Plane[] planes\ngeometry_msgs/Pose[] plane_poses\n"
        "string[] subframe_names\ngeometry_msgs/Pose[] subframe_poses\n"
        "byte ADD=0\nbyte REMOVE=1\nbyte APPEND=2\nbyte MOVE=3\nbyte operation"
    ),
    "moveit_msgs/Constraints": (
        "string name\nJointConstraint[] joint_constraints\nPositionConstraint[] position_constraints\n"
        "OrientationConstraint[] orientation_constraints\nVisibilityConstraint[] visibility_constraints"
    ),
    "moveit_msgs/JointConstraint": (
        "string joint_name\nfloat64 position\nfloat64 tolerance_above\nfloat64 tolerance_below\nfloat64 weight"
    ),
    "moveit_msgs/PositionConstraint": (
        "Header header\nstring link_name\ngeometry_msgs/Vector3 target_point_offset\n"
        "BoundingVolume constraint_region\nfloat64 weight"
    ),
    "moveit_msgs/OrientationConstraint": (
        "Header header\ngeometry_msgs/Quaternion orientation\nstring link_name\nfloat64 absolute_x_axis_tolerance\n"
        "float64 absolute_y_axis_tolerance\nfloat64 absolute_z_axis_tolerance\nuint8 parameterization\n"
        "uint8 XYZ_EULER_ANGLES=0\nuint8 ROTATION_VECTOR=1\nfloat64 weight"
    ),
    "moveit_msgs/VisibilityConstraint": (
        "float64 target_radius\ngeometry_msgs/PoseStamped target_pose\nint32 cone_sides\n"
        "geometry_msgs/PoseStamped sensor_pose\nfloat64 max_view_angle\nfloat64 max_range_angle\n"
        "uint8 SENSOR_Z=0\nuint8 SENSOR_Y=1\nuint8 SENSOR_X=2\nuint8 sensor_view_direction\nfloat64 weight"
    ),
    "moveit_msgs/BoundingVolume": (
        "shape_msgs/SolidPrimitive[] primitives\ngeometry_msgs/Pose[] primitive_poses\nshape_msgs/Mesh[] meshes\n"
        "geometry_msgs/Pose[] mesh_poses"
    ),
    "moveit_msgs/TrajectoryConstraints": "Constraints[] constraints",
    "moveit_msgs/GenericTrajectory": (
        "Header header\ntrajectory_msgs/JointTrajectory[] joint_trajectory\n"
        "moveit_msgs/CartesianTrajectory[] cartesian_trajectory"
    ),
    "moveit_msgs/CartesianTrajectory": "Header header\nstring tracked_frame\nCartesianTrajectoryPoint[] points",
    "moveit_msgs/CartesianTrajectoryPoint": "CartesianPoint point\nduration time_from_start",
    "moveit_msgs/CartesianPoint": (
        "geometry_msgs/Pose pose\ngeometry_msgs/Twist velocity\ngeometry_msgs/Accel acceleration"
    ),
    "moveit_msgs/PlanningOptions": (
        "PlanningScene planning_scene_diff\nbool plan_only\nbool look_around\nint32 look_around_attempts\n"
        "float64 max_safe_execution_cost\nbool replan\nint32 replan_attempts\nfloat64 replan_delay"
    ),
    "moveit_msgs/PlanningScene": (
        "string name\nRobotState robot_state\nstring robot_model_name\n"
        "geometry_msgs/TransformStamped[] fixed_frame_transforms\nAllowedCollisionMatrix allowed_collision_matrix\n"
        "LinkPadding[] link_padding\nLinkScale[] link_scale\nObjectColor[] object_colors\nPlanningSceneWorld world\n"
        "bool is_diff"
    ),
    "moveit_msgs/AllowedCollisionMatrix": (
        "string[] entry_names\nAllowedCollisionEntry[] entry_values\nstring[] default_entry_names\n"
        "bool[] default_entry_values"
    ),
    "moveit_msgs/AllowedCollisionEntry": "bool[] enabled",
    "moveit_msgs/LinkPadding": "string link_name\nfloat64 padding",
    "moveit_msgs/LinkScale": "string link_name\nfloat64 scale",
    "moveit_msgs/ObjectColor": "string id\nstd_msgs/ColorRGBA color",
    "moveit_msgs/PlanningSceneWorld": "CollisionObject[] collision_objects\noctomap_msgs/OctomapWithPose octomap",
    "moveit_msgs/MoveItErrorCodes": (
        "int32 val\n" + "\n".join(f"int32 {name}={value}" for name, value in ERROR_CODES.items())
    ),
    "moveit_msgs/RobotTrajectory": (
        "trajectory_msgs/JointTrajectory joint_trajectory\n"
        "trajectory_msgs/MultiDOFJointTrajectory multi_dof_joint_trajectory"
    ),
    "shape_msgs/SolidPrimitive": (
        "uint8 BOX=1\nuint8 SPHERE=2\nuint8 CYLINDER=3\nuint8 CONE=4\nuint8 type\nfloat64[] dimensions\n"
        "uint8 BOX_X=0\nuint8 BOX_Y=1\nuint8 BOX_Z=2\nuint8 SPHERE_RADIUS=0\nuint8 CYLINDER_HEIGHT=0\n"
        "uint8 CYLINDER_RADIUS=1\nuint8 CONE_HEIGHT=0\nuint8 CONE_RADIUS=1"
    ),
    "shape_msgs/Mesh": "MeshTriangle[] triangles\ngeometry_msgs/Point[] vertices",
    "shape_msgs/MeshTriangle": "uint32[3] vertex_indices",
    "shape_msgs/Plane": "float64[4] coef",
    "object_recognition_msgs/ObjectType": "string key\nstring db",
    "octomap_msgs/OctomapWithPose": "Header header\ngeometry_msgs/Pose origin\noctomap_msgs/Octomap octomap",
    "octomap_msgs/Octomap": "Header header\nbool binary\nstring id\nfloat64 resolution\nint8[] data",
}
"""By package and name, as in MoveIt for ROS Noetic. Metres, radians, seconds."""
