"""Calibration data: pictures made ready for a model, folders of them, and the ranges their activations need."""
