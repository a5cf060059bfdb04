"""What a finished run shows: the report, the model card, the Hub."""
