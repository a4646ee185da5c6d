"""What a study wrote, read without the engine that wrote it: never Ray, MLflow or torch."""
