"""TFLite: lower through litert-torch, inspect, read grids, run."""
