"""Meters to bus: simulator, file importers and the bus itself."""
