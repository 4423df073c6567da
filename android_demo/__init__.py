"""The Android demo app, and what builds and checks its APK without Google's SDK."""
