"""A stand-in for a HeavyDB server: its Thrift protocol and its part of SQL, on DuckDB. For development and tests."""
