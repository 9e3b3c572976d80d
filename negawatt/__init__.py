"""The front door: command line, settings and the wiring of adapters."""

__version__ = "0.1.0"
