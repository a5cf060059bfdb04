"""Speech units: the codec contract and its families, cards, fingerprints, the unit store, fitting and tokenizing."""
