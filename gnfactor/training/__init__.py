"""Training: the learner, optimisers, and what a run shows and keeps."""
