"""The runtime: decides and carries out; knows no provider's wire and no HTTP server."""
