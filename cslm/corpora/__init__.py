"""Corpora: the manifest, and one file per corpus, each with one function from a folder to a manifest."""
