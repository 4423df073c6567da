"""ExecuTorch: lower through XNNPACK, inspect, read grids, run."""
