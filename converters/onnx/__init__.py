"""ONNX: lower through torch's exporter, edit, inspect, read grids, run with ONNX Runtime."""
