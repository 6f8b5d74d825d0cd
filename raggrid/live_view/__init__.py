"""What a watcher of a study sees beside its trials: sentences, the advice so far, and the live page."""
