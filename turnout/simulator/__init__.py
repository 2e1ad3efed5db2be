"""A provider simulator: an HTTP server of its own that speaks the providers' wires."""
