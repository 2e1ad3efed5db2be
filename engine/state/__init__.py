"""What outlives a request, over each kind of store."""
