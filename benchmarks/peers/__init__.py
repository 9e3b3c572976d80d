"""Contracts that ours are compared with."""
