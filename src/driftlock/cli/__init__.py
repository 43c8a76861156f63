"""The `driftlock` command: thin commands over the runtime and the library."""
