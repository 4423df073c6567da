"""Measuring artefacts on ARM: adb transport, runners, latency statistics, emulation."""
