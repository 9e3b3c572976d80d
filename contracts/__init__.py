"""Contracts that register resources, certify demand-response events and pay homes, and their artifacts."""
