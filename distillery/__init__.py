"""Knowledge distillation: plain functions on arrays and Keras models.

    from distillery import Distiller, load_method

Names are imported when they are first used, since Keras takes seconds.
"""

from importlib import import_module

_ROOMS = {
    "Distiller": "distillery.distillation.distiller",
    "load_method": "distillery.distillation.methods",
    "Teacher": "distillery.teachers.teacher",
    "load_teacher": "distillery.teachers.teacher",
    "ModelSpec": "distillery.learning.models",
    "build_model": "distillery.learning.models",
    "load_model": "distillery.learning.saving",
    "save_model": "distillery.learning.saving",
    "InputError": "distillery.data.errors",
}
__all__ = [*_ROOMS]


def __getattr__(name: str):
    if name not in _ROOMS:
        raise AttributeError(f"module 'distillery' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
