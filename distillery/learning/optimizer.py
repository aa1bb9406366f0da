"""The optimizer."""

import keras


def adam(learning_rate, weight_decay: float = 0.0) -> keras.optimizers.Optimizer:
    """Return Adam with decoupled weight decay (AdamW), in the fastest form that the backend has.

    Args:
        learning_rate: a number, or a schedule.
        weight_decay: 0 for none: AdamW with a weight decay of 0 would still walk over all weights.
    """
    optimizer = FusedAdam if keras.backend.backend() == "tensorflow" else keras.optimizers.Adam
    return optimizer(learning_rate, weight_decay=weight_decay or None)


class FusedAdam(keras.optimizers.Optimizer):
    """Adam under TensorFlow as one kernel per variable, which walks over the weights once.

    Keras's own update is a dozen operations there, each of which reads and writes all weights: `python -m benchmarks
    steps` measures both. XLA, which JAX always uses, fuses them by itself. The formula is that of Keras's Adam:
    Kingma & Ba 2015 (arXiv 1412.6980), section 2, its efficient form; epsilon is outside the root.

    Args:
        learning_rate: a number, or a schedule.
        weight_decay: decoupled; None for none.
        beta_1, beta_2: decay of the moving averages of the gradient and of its square.
        epsilon: added to the root.
    """

    def __init__(self, learning_rate=0.001, weight_decay=None, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name="adam")
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._moments = {
            _handle(variable).ref(): tuple(
                self.add_variable_from_reference(variable, name=name) for name in ("momentum", "velocity")
            )
            for variable in variables
        }

    def apply(self, grads, trainable_variables=None):
        step = keras.ops.cast(self.iterations + 1, "float32")
        self._powers = keras.ops.power(self.beta_1, step), keras.ops.power(self.beta_2, step)  # once for all
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        from tensorflow import raw_ops  # the kernel has no name in Keras; under JAX there may be no TensorFlow

        variable = _handle(variable)
        momentum, velocity = self._moments[variable.ref()]
        raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=keras.ops.cast(learning_rate, "float32"),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self):
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


def _handle(variable):
    """Return TensorFlow's own variable: Keras hands over now its own, now TensorFlow's."""
    return variable.value if isinstance(variable, keras.Variable) else variable
