"""Serves an exported pipeline over HTTP: OpenAI's chat route, retrieval, a page; in batches."""
