"""Corpora that models make: translations, speech, stories, instructions; and the verb that makes any corpus."""
