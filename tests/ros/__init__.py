"""Real parts of ROS 1 around a simulated Franka: a master, and the arm behind franka_ros's names."""
