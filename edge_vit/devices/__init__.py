"""Measuring artefacts on devices: adb, Linux and local machines, runners, sessions, statistics, records."""
