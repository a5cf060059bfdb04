"""The village: a closed world of facts, told in several languages and spoken by a synthesizer."""
