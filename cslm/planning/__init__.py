"""Before a run: what it will need, what it will read, which learning rate suits it."""
