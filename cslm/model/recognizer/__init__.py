"""Speech recognizers that are trained from nothing: what hears for a small world, and where a Q-Former begins."""
