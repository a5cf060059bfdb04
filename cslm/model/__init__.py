"""The language model: backbone, speech rows, attention by document, loss, checkpoint folder."""
