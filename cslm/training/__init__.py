"""One loop for everything that learns: engine, schedule, state and resume, meters, and the training verbs."""
