"""TFLite by way of ONNX and onnx2tf, in an environment of its own."""
