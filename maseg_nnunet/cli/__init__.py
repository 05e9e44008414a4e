"""The subcommands of `maseg`, one module each."""
