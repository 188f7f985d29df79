"""From demonstrations to batches: readers of recordings, the store, the data set, and their commands.

This package is the application's; it is not installed with the library (see `gnfactor`).
"""
