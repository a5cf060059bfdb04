"""A continuous speech prompt: frozen encoder, connector that learns, vectors in the places of clips, frozen LLM."""
