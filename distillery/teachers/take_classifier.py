"""Take a classifier that runs: find out what its pixels and outputs mean, and check it on validation images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from distillery.data.errors import InputError
from distillery.data.files import file_digest
from distillery.data.prepared import DatasetInfo, Split
from distillery.teachers.check import guesses, refuse_another_order
from distillery.teachers.classes import matched, outputs_by_name, read_classes
from distillery.teachers.configuration import MAPPING, names_beside, pixels_beside, pixels_of_file
from distillery.teachers.conventions import STAGES, compare, convention, convention_names, conventions, in_words
from distillery.teachers.onnx_runtime import OnnxRuntime, files_of
from distillery.teachers.outputs import kind_of, logits_of, width_of
from distillery.teachers.pixels import Pixels
from distillery.teachers.source import Source
from distillery.teachers.taken import Taken
from distillery.teachers.teacher import Classifier
from distillery.teachers.tensors import Takes, tensor

GIVEN = "as configured"
PROBED = 8  # images on which a classifier is tried
Settings = Any  # section `train_teacher`


def take_classifier(source: Source, settings: Settings, info: DatasetInfo, validation: Split, folder: Path) -> Taken:
    """Find out what the pixels and outputs of a classifier mean; write what runs it into its folder.

    Args: as of `take.take_teacher`; `source`: its file.

    Raises:
        InputError: when it cannot be run, fits no images or classes, or guesses.
    """
    taken = Taken()
    files = files_of(source.model) if source.kind == "onnx" else [source.model]
    taken.beside += files
    runtime = _runtime(source)
    given, where = _given_pixels(settings, source)
    named = names_beside(source.folder)
    taken.beside += [path for path in (where, named and named[1]) if path]
    images = np.asarray(validation.images[:PROBED])
    inputs, arrays = _probe(runtime, info, images, given, settings, source.model)
    input_ = inputs[0]
    size = _size(settings, input_, given, source.model)
    widths = [width_of(array, input_.batch or len(images)) for array in arrays]
    output, width = _output(runtime, arrays, widths, settings, info, named and named[0], source.model)
    names, width = named and named[0], max(width, 2)  # a single output is that of the second of two classes
    mapping = settings.classes
    if mapping is None and (beside := source.folder / MAPPING).is_file():
        mapping = str(beside)
        taken.beside.append(beside)
    if mapping is None:
        classes = outputs_by_name(names, info.classes, width, source.model)
        if names and classes is None and matched(names, info.classes) is None:
            some = ", ".join(names[:5]) + ", …" * (len(names) > 5)
            taken.notes.append(f"its outputs have other names than the classes, {some}: taken in the classes' order")
    else:
        classes = read_classes(mapping, names, info.classes, width)
    candidates = _candidates(given, input_, info, size, source.model)
    classifier = Classifier(runtime, input_, next(iter(candidates.values())), output, "logits", classes)
    if len(inputs) > 1:
        classifier.input_ = _layout(classifier, inputs, candidates, validation)
    classifier.kind = _kind(classifier, candidates, validation.images)
    name = _choose(classifier, candidates, given is not None, info, validation, taken, source.model)
    classifier.pixels = candidates[name]
    _describe(classifier, source, files, folder, validation, taken)
    taken.notes.insert(0, _in_short(classifier, name, where, source.model))
    return taken


def _runtime(source: Source):
    if source.kind == "onnx":
        return OnnxRuntime(source.model)
    from distillery.teachers.keras_runtime import KerasRuntime  # imports Keras, which takes seconds

    return KerasRuntime(source.model)


def _given_pixels(settings: Settings, source: Source) -> tuple[Pixels | None, Path | None]:
    """Return what is said of its pixels, by parameter or by a file beside it, and the file."""
    if settings.preprocessing in convention_names():
        return convention(settings.preprocessing), None
    if settings.preprocessing != "auto":
        path = Path(settings.preprocessing)
        return pixels_of_file(path), path
    return pixels_beside(source.folder) or (None, None)


def _probe(
    runtime, info: DatasetInfo, images: np.ndarray, given: Pixels | None, settings: Settings, path: Path
) -> tuple[list[Takes], list[np.ndarray]]:
    """Return what it takes, by trying: each layout that its shape allows; and the outputs of the first on some images.

    Where it says that any batch is taken and takes none, one image at a time is tried: its exporter fixed it inside.
    """
    error, found, strange = None, {}, None
    inputs = runtime.takes(info.image_shape)
    for input_ in [*inputs, *(replace(one, batch=1) for one in inputs if one.batch is None)]:
        if found and input_.batch != next(iter(found)).batch:
            break
        sized = Pixels(_size(settings, input_, given, path))
        batch = np.resize(images, (input_.batch or len(images), *images.shape[1:]))
        try:
            arrays = runtime.run(tensor(batch, sized, input_))
        except InputError as failed:
            error = error or failed
            continue
        if any(width_of(array, len(batch)) for array in arrays):
            found[input_] = arrays
        strange = strange or ([input_], arrays)
    if found:
        return list(found), next(iter(found.values()))
    if strange:
        return strange
    raise error


def _layout(classifier: Classifier, inputs: list[Takes], candidates: Mapping[str, Pixels], validation: Split) -> Takes:
    """Return the layout, of several that it takes, with which it answers best on a few validation images."""
    labels, losses = np.asarray(validation.labels), {}
    for input_ in inputs:
        classifier.input_ = input_
        classifier.kind = _kind(classifier, candidates, validation.images)
        losses[input_] = compare(candidates, _remembering(classifier, validation.images), labels, STAGES[:1]).best.loss
    return min(losses, key=losses.__getitem__)


def _size(settings: Settings, input_: Takes, given: Pixels | None, path: Path) -> tuple[int, int] | None:
    """Return the size at which it sees images: its own, else that of its configuration; None for the images' own."""
    if settings.input_size == "auto":
        return input_.size or (given and given.size)
    wanted = (settings.input_size, settings.input_size)
    if input_.size and input_.size != wanted:
        own = " × ".join(map(str, input_.size))
        raise InputError(
            f"train_teacher.input_size: found {settings.input_size}, {path} takes {own}; accepted: auto, or that"
        )
    return wanted


def _output(
    runtime,
    arrays: list[np.ndarray],
    found: list[int | None],
    settings: Settings,
    info: DatasetInfo,
    names: Sequence[str] | None,
    path: Path,
) -> tuple[str, int]:
    """Return the name and the width of the output that counts: the one that is named, else the one that fits."""
    widths = {name: width for name, width in zip(runtime.outputs, found, strict=True) if width}
    shown = ", ".join(f"{name} {array.shape}" for name, array in zip(runtime.outputs, arrays, strict=True))
    if settings.output is not None:
        if settings.output not in widths:
            raise InputError(f"train_teacher.output: found {settings.output!r}; accepted: one of {path}: {shown}")
        return settings.output, widths[settings.output]
    if not widths:
        raise InputError(f"{path}: its outputs are {shown}; accepted: one of the shape (images, classes)")
    fitting = [name for name, width in widths.items() if width in (len(info.classes), len(names or []))]
    found = fitting or list(widths)
    if len(found) > 1:
        found = [name for name in found if "logit" in name.casefold()] or found
    if len(found) > 1:
        raise InputError(f"{path}: it has several outputs ({shown}); accepted: train_teacher.output names one")
    return found[0], widths[found[0]]


def _candidates(
    given: Pixels | None, input_: Takes, info: DatasetInfo, size: tuple[int, int] | None, path: Path
) -> dict[str, Pixels]:
    """Return the conventions that are tried, by name; first what the user says of its pixels, if anything is said."""
    known = conventions(input_.channels, grey=info.image_shape[2] == 1)
    if input_.dtype == "uint8":  # it scales them itself
        if given and not given.raw:
            raise InputError(f"{path}: it takes uint8, its configuration says {given.in_words()}; accepted: 0…255")
        known = {name: pixels for name, pixels in known.items() if pixels.raw}
    if given:
        known = {name: replace(pixels, interpolation=given.interpolation) for name, pixels in known.items()}
        known = {GIVEN: given} | {name: pixels for name, pixels in known.items() if not _same(pixels, given)}
    return {name: pixels.with_size(size) for name, pixels in known.items()}


def _same(one: Pixels, other: Pixels) -> bool:
    """Return whether two are the same but for rounded numbers, of square images."""
    numbers = [np.array([pixels.scale, *(pixels.mean * 3)[:3], *(pixels.std * 3)[:3]]) for pixels in (one, other)]
    alike = one.channels == other.channels and one.crop == other.crop
    slope = [(n[0] / n[4:], n[1:4] / n[4:]) for n in numbers]
    return alike and all(np.allclose(mine, others, rtol=1e-3) for mine, others in zip(*slope, strict=True))


def _kind(classifier: Classifier, candidates: Mapping[str, Pixels], images: np.ndarray) -> str:
    """Return what the numbers of the output are: the same whatever is done to the pixels."""
    found = []
    for pixels in list(candidates.values())[:3]:
        classifier.pixels = pixels
        found.append(classifier.values(np.asarray(images[: STAGES[0]])))
    found = np.concatenate(found)
    finite = np.isfinite(found).all(axis=1)
    if not finite.any():
        raise InputError(f"{classifier.runtime.path}: it gives values that are not finite; accepted: numbers")
    return kind_of(found[finite])


def _choose(
    classifier: Classifier,
    candidates: Mapping[str, Pixels],
    given: bool,
    info: DatasetInfo,
    validation: Split,
    taken: Taken,
    path: Path,
) -> str:
    """Return the name of the convention to take, after checks that the outputs are the classes and say something."""
    labels = np.asarray(validation.labels)
    answers = _remembering(classifier, validation.images)
    tried = [partial(answers, pixels) for pixels in candidates.values()]
    refuse_another_order(path, tried, labels, info.classes, classifier.classes)
    # What is configured is taken: it need not be told apart from its like.
    comparison = taken.comparison = compare(candidates, answers, labels, STAGES[:2] if given else STAGES)
    best = comparison.best
    if guesses(round(best.accuracy * best.images), np.bincount(labels) * best.images / len(labels)):
        print(comparison.text(), flush=True)
        raise InputError(
            f"{path}: whatever its pixels mean, it hardly does better than by guessing: at best"
            f" {100 * best.accuracy:.1f} % of {best.images:,} validation images, {_described(best.name)}; the table is"
            " above; accepted: a classifier of these classes; do its outputs mean others? see train_teacher.classes; do"
            " its pixels? see train_teacher.preprocessing"
        )
    if not given:
        name, *others = comparison.alike
        if others:
            taken.notes.append(f"as good as {name}: {', '.join(others)}; the simplest is taken")
        return name
    mine = next(score for score in comparison.scores if score.name == GIVEN)
    if GIVEN not in comparison.left:
        taken.notes.append(
            f"warning: {path}: its configuration gives {100 * mine.accuracy:.1f} % and a log loss of {mine.loss:.3f} at"
            f" temperature {mine.temperature:.2g}, {best.name} ({in_words(best.name)}) {100 * best.accuracy:.1f} % and"
            f" {best.loss:.3f} at {best.temperature:.2g}; is it this model's?"
            f" train_teacher.preprocessing={comparison.alike[0]} takes the other"
        )
    return GIVEN


def _described(name: str) -> str:
    return name if name == GIVEN else f"{name} ({in_words(name)})"


def _remembering(classifier: Classifier, images: np.ndarray) -> Callable[[Pixels, np.ndarray], np.ndarray]:
    """Return a function from pixels and numbers of images to logits, that computes none twice."""
    known: dict[Pixels, dict[int, np.ndarray]] = {}

    def answers(pixels: Pixels, chosen: np.ndarray) -> np.ndarray:
        before = known.setdefault(pixels, {})
        new = np.array([number for number in chosen if number not in before], int)
        if len(new):
            classifier.pixels = pixels
            found = np.nan_to_num(classifier.values(np.asarray(images[new])), nan=0.0, posinf=1e30, neginf=-1e30)
            logits = classifier.own(logits_of(found, classifier.kind))
            before.update(zip(new.tolist(), logits, strict=True))
        return np.stack([before[number] for number in chosen.tolist()])

    return answers


def _describe(
    classifier: Classifier,
    source: Source,
    files: list[Path],
    folder: Path,
    validation: Split,
    taken: Taken,
) -> None:
    """Fill in `teacher.json`, and what stands beside it; a Keras model as ONNX, too, where ONNX has it."""
    image = tensor(np.asarray(validation.images[:PROBED]), classifier.pixels, classifier.input_)
    inside = {str(path.relative_to(source.model.parent)): path for path in files}
    taken.links |= inside
    run, runtime = source.model.name, classifier.runtime
    name, output = runtime.name, classifier.output
    parameters, adds = runtime.cost((classifier.input_.batch or 1, *image.shape[1:]))
    if source.kind == "keras":
        as_onnx = folder / "run.onnx"
        try:
            runtime.write_onnx(as_onnx, image, output)
            written = OnnxRuntime(as_onnx)
            (output,), (_, adds) = written.outputs, written.cost((1, *image.shape[1:]))
            run, name = as_onnx.name, written.name
        except InputError as error:
            taken.notes.append(f"note: {error}; so Keras runs the teacher, which takes seconds longer to start")
    input_ = classifier.input_.tree()
    if source.kind == "keras" and name == OnnxRuntime.name:
        input_ |= {"batch": None}
    taken.described |= {
        "kind": source.kind,
        "model": source.model.name,
        "run": run,
        "runtime": name,
        "files": {name: file_digest(path) for name, path in inside.items()},
        "output": output,
        "outputs_are": classifier.kind,
        "classes": classifier.classes,
        "takes": input_,
        "pixels": classifier.pixels.tree(),
        "bytes": sum(path.stat().st_size for path in files),
        "parameters": parameters,
        "multiply_adds": adds,
    }


def _in_short(classifier: Classifier, name: str, where: Path | None, path: Path) -> str:
    pixels, input_ = classifier.pixels, classifier.input_
    size = " × ".join(map(str, pixels.size)) if pixels.size else "the images' own"
    meant = f"{where}: {pixels.in_words()}" if name == GIVEN and where else f"{pixels.in_words()} ({_described(name)})"
    return (
        f"{path}: {classifier.runtime.name}; takes {input_.layout.upper()} {input_.dtype}, size {size}, pixels {meant};"
        f" its output {classifier.output!r} gives {classifier.kind}"
    )
