"""The HTTP server: Sanic over the engine."""
