"""Settings, embedded servers and their supervision, wiring. The only reader of environment and clock."""
