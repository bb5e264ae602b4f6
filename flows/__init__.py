"""What a user runs: flows, the command line, configuration and run folders."""
