"""A real arm behind a robot middleware, as an Env. Nothing here imports ROS until a link needs it."""
