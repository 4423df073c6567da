"""aarch64 under emulation: instruction counts, attribution, virtual adb devices."""
