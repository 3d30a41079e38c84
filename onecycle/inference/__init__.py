"""Using a trained network: load it, and classify new images."""
