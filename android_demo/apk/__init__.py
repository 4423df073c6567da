"""The parts of `python -m android_demo.build_apk`: tools, compiling, packaging, checking."""
