"""Prompts in, replies out: the Hugging Face model with speech, its processor, and the grammar that decodes units."""
