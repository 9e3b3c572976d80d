"""Airflow DAGs: when each part of the pipeline runs, and after what."""
