"""Only there to be listed: the replay knows this one task, see `simulator`."""
