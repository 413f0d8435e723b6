"""Push providers behind one port. `port` says what a sender is; one file for each provider."""
