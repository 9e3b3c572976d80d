"""Airflow's programs on this machine: how each is started, what they read, and where their database is."""
