"""Blocks that the model families share; they import torch only."""
