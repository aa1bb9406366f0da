"""Devices that share each batch, under JAX, of one process or of several; and whether XLA is faster here."""

import keras

from distillery.data.errors import InputError


def check_devices(parameter: str, devices: int) -> None:
    """Check that a model can be trained on so many devices.

    Args:
        parameter: its name, for messages.
        devices: its value.

    Raises:
        InputError: when there are not so many, or Keras's backend trains on one only.
    """
    if devices == 1:
        return
    if keras.backend.backend() != "jax":
        raise InputError(
            f"params.yaml: {parameter}: found {devices}; accepted: 1 under {keras.backend.backend()}, or several with"
            " the environment variable KERAS_BACKEND=jax"
        )
    found, (_, processes) = keras.distribution.list_devices(), own_part()
    if processes > 1 and devices != len(found):
        raise InputError(
            f"params.yaml: {parameter}: found {devices}; accepted: {len(found)}, all of the {processes} processes"
        )
    if devices > len(found):
        raise InputError(f"params.yaml: {parameter}: found {devices}; this host has {len(found)}: {', '.join(found)}")


def own_part() -> tuple[int, int]:
    """Return the number of this process among those that train together, from 0, and how many they are."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax  # where it is no backend it may not be installed

    return jax.process_index(), jax.process_count()


def share_batches(devices: int) -> None:
    """Distribute the models that are built from now on: each device has a copy of the weights and a part of a batch."""
    shared = None
    if devices > 1:
        taken = keras.distribution.list_devices()[:devices]
        shared = keras.distribution.DataParallel(devices=taken, auto_shard_dataset=False)  # see `Batches`
    keras.distribution.set_distribution(shared)


def callbacks_for_devices() -> list[keras.callbacks.Callback]:
    """Return what training on the devices of the model that was built last needs."""
    on_several_cpus = keras.distribution.distribution() is not None and first_device().startswith("cpu")
    return [_OneStepAtATime()] if on_several_cpus else []


class _OneStepAtATime(keras.callbacks.Callback):
    """Has Keras wait for each step: with several under way, XLA's sums over the devices of a CPU wait forever.

    Without a callback for batches, Keras reads their metrics in another thread and goes on with the next step.
    """

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        pass


def xla_is_faster() -> bool:
    """Return whether XLA is faster: under TensorFlow on a CPU it is slower (`python -m benchmarks precision`)."""
    return keras.backend.backend() != "tensorflow" or first_device().startswith("gpu")


def first_device() -> str:
    """Return the name of the device on which Keras trains: the first of the host's, `cpu:0`."""
    return keras.distribution.list_devices()[0]
