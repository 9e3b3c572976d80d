"""Servers of our own on this machine: installed, started, watched and stopped. Beside it, set-up and checks."""
