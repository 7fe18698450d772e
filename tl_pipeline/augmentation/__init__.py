"""Augmentation on the device: pure functions of a key, an image and its target."""
