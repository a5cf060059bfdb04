"""Files: written whole or not at all, JSON Lines, the cache folder, what travels with the wheel, progress bars."""
