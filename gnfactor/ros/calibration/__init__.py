"""What a camera shows of the gripper and the table, beside where they must be."""
