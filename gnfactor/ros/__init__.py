"""A real Franka as an Env: links to the robot, the guard in front of them, and what both speak."""
