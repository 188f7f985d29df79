"""From messages of cameras, joints and frames to views and states."""
