"""The one door to the engine."""
