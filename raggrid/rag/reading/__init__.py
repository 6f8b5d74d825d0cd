"""How a generator reads prompts and answers, without work that is needed twice."""
