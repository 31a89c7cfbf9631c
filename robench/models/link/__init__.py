"""The output link (sigmoid, softmax, threshold): found, proven monotone and taken off the logits."""
