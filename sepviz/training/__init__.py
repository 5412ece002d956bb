"""Training: one loop, checkpoints, and a short file for each kind of prior."""
