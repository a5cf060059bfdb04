"""Corpora that models make: the village, translations, speech, stories; and the verb that makes any corpus."""
