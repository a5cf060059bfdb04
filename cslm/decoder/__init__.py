"""Units to a waveform: durations, log-mel by flow matching, Griffin-Lim (CSLM section 3.1)."""
