"""A server that hears and speaks: OpenAI's protocols, many connections on one model, and a page."""
