"""Measurements of speed and memory, each beside a peer or a limit from the same run."""
