"""What is known of one image: its certificate, its attacks, and whether they contradict each other."""
