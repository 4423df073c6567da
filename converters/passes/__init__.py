"""Rewrites of an exported graph that every format shares, one concern a file."""
