"""How every command ends: what it prints, its exit code, interrupts and broken streams."""
