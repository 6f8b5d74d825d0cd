"""What is wrong with a cluster and how to fix it: facts of every node, and what they mean. Knows no Ray."""
