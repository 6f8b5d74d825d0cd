"""Experiment trackers written from the records: TensorBoard, MLflow, Weights & Biases, Trackio. One run per trial."""
