"""Rewrites of a lowered flatbuffer, one concern a file."""
