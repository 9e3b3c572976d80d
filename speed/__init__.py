"""The speed layer: recent readings in DuckDB and provisional certificates at once."""
