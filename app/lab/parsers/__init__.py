"""From a tool's output to typed values: pure functions, tested on real output kept under tests/data."""
