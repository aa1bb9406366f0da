"""The optimizer."""

import keras


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam. Under TensorFlow a variable's update is one kernel, which walks over the weights once.

    Keras's own update is a dozen operations there, each of which reads and writes all weights: `python -m benchmarks
    steps` measures both. XLA, which JAX always uses, fuses them by itself. The formula is the same: Kingma & Ba 2015
    (arXiv 1412.6980), section 2, its efficient form; epsilon is outside the root.
    """

    def apply(self, grads, trainable_variables=None):
        if keras.backend.backend() == "tensorflow":
            step = keras.ops.cast(self.iterations + 1, "float32")
            self._powers = keras.ops.power(self.beta_1, step), keras.ops.power(self.beta_2, step)  # once for all
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        from tensorflow import raw_ops  # the kernel has no name in Keras

        position = self._get_variable_index(variable)
        raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[position]),
            v=_handle(self._velocities[position]),
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=keras.ops.cast(learning_rate, "float32"),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def _handle(variable):
    """TensorFlow's handle of a variable of Keras or of its own."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
