"""Augmentation: a view of an image is a function of (policy, image, view number). Pure functions on arrays."""

from distillery.learning.augmentation.policy import Policy, apply, draw, pictures_to_crop, policy_of
from distillery.learning.augmentation.views import Views

__all__ = ["Policy", "Views", "apply", "draw", "pictures_to_crop", "policy_of"]
