"""The rules of demand response, pure: no network, no files, no clock, no environment."""
