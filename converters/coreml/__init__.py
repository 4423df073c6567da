"""Core ML: lower through coremltools, inspect, read grids, run with our interpreter."""
