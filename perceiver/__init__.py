"""PerceiverIO over voxel volumes and the Q-head that reads actions from it; knows torch only."""
