"""ImageNet weights against training from nothing, on a few photos."""
