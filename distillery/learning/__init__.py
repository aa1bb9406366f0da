"""Models trained. Importing anything of this room imports Keras, here, once, and without TensorFlow's announcements."""

import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_ANNOUNCEMENTS = ("I0000 ", "WARNING: All log messages before absl::InitializeLog()")
_NO_DRIVER = "call to cuInit: UNKNOWN ERROR (303)"


def _import_keras_quietly() -> None:
    """Drops what TensorFlow logs, whatever its log level, while it loads and finds no GPU driver."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            import keras

            keras.ops.zeros(())  # the first operation looks for devices
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                if not line.startswith(_ANNOUNCEMENTS) and _NO_DRIVER not in line:
                    print(line, file=sys.stderr)


_import_keras_quietly()
