"""How a model is trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """What the training of any model takes; the sections of `params.yaml` have the same names.

    Attributes:
        epochs: passes over the training images; the best on validation is kept.
        batch_size: images per step.
        learning_rate: peak learning rate of AdamW.
        schedule: `cosine` warms up, then falls to zero; or `constant`.
        weight_decay: decoupled weight decay.
        precision: Keras dtype policy while training.
        compilation: `xla`, `none` or `auto`: XLA where it is faster.
        steps_per_execution: steps that TensorFlow runs before it returns to Python.
        devices: of this host, that share each batch.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "cosine"
    weight_decay: float = 0.0
    precision: str = "float32"
    compilation: str = "auto"
    steps_per_execution: int = 64
    devices: int = 1
