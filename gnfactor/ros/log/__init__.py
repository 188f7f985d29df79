"""The log of a run: written, read, filmed, and a policy asked again."""
