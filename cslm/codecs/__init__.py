"""Speech tokenizers: the codec contract and its families, cards, fingerprints; to fit, check and convert."""
