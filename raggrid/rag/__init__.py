"""A RAG system without training: embedder, index, generator, prompt, pipeline."""
