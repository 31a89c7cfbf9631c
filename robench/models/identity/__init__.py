"""Which function a model is: a digest that changes when the model answers differently."""
