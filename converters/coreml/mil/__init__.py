"""Reading and evaluating Core ML's ML programs on any system; torch and numpy are all that it needs."""
