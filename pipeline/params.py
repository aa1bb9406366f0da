"""The schema of `params.yaml`: every parameter, its type, its range and its meaning.

This module is imported before anything slow, so that a mistake costs a fraction of a second and not a training run.
It checks; what a value means stands in `distillery/`, which the stages depend on. `docs/parameters.md` is what
`python -m pipeline.params --markdown` prints.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.error import ReusedAnchorWarning

from distillery.data.errors import InputError, shown
from distillery.students.seeds import MAX_SEED, class_names, expand_seeds
from distillery.teachers.configuration import pixels_of_file
from distillery.teachers.conventions import convention_names
from distillery.teachers.source import OWN_FILES, find_source
from pipeline import catalogue
from pipeline.flat import flat

WEIGHTS = (".weights.h5", ".h5", ".hdf5", ".keras")
RENAMED = {  # what a parameter is called now
    "prepare.folder": "prepare.dataset",
    "student.architecture": "student.model",
    "student.jitter": "student.max_shift",
    "student.flip": "student.horizontal_flip",
    "train_teacher.architecture": "train_teacher.model",
    "train_teacher.jitter": "train_teacher.max_shift",
    "train_teacher.flip": "train_teacher.horizontal_flip",
    "distill.dkd_alpha": "distill.dkd.alpha",
    "distill.dkd_beta": "distill.dkd.beta",
    "distill.dist_beta": "distill.dist.beta",
    "distill.dist_gamma": "distill.dist.gamma",
    "evaluate.timing_batch": "timing.batch",
    "evaluate.timing_rounds": "timing.rounds",
}


def _readable(check: Callable[[str], str]) -> Callable[[str], str]:
    """Return a check of a path that refuses what the system does, a name that is too long or a folder of others."""

    def checked(value: str) -> str:
        try:
            return check(value)
        except OSError as error:
            raise ValueError(f"cannot be read ({error.strerror})") from None

    return checked


def _one_of(folder: str, function: str, value: str, own: str) -> str:
    """Check the path of a file of a catalogue, or of the user's own."""
    if not (value.endswith(".py") and Path(value).is_file()):
        raise ValueError(f"accepted: {', '.join(catalogue.files(folder))}, or {own}")
    catalogue.check_file(value, function)
    return value


def _dataset(value: str) -> str:
    if value and Path(value).is_dir():
        return value
    return _one_of("datasets", "load", value, "a folder with one subfolder per class, or a `.py` file of your own")


def _student(value: str) -> str:
    if value.endswith(".keras") and Path(value).is_file():
        return value
    return _one_of("architectures", "features", value, "a `.py` file of your own, or a `.keras` file to start from")


def _weights(value: str) -> str:
    if value in ("none", "imagenet") or (value.endswith(WEIGHTS) and Path(value).is_file()):
        return value
    raise ValueError(f"accepted: none, imagenet, or a file that ends in {', '.join(WEIGHTS)}")


def _teacher(value: str) -> str:
    if value.endswith(".py"):
        return _one_of("architectures", "features", value, f"a `.py` file of your own; or {OWN_FILES}")
    if not Path(value).exists():
        raise ValueError(f"accepted: {', '.join(catalogue.files('architectures'))}, or {OWN_FILES}")
    find_source(value)
    return value


def _preprocessing(value: str) -> str:
    names = convention_names()
    if value == "auto" or value in names:
        return value
    if not Path(value).is_file():
        raise ValueError(f"accepted: auto, {', '.join(names)}, or a file that describes the pixels")
    try:
        pixels_of_file(Path(value))
    except InputError as error:
        raise ValueError(str(error)) from None
    return value


def _teacher_classes(value: str | dict | None) -> str | dict | None:
    if isinstance(value, str) and not Path(value).is_file():
        raise ValueError("no such file; accepted: a file of names, one a line, or a mapping by class, also as a file")
    return value


def _method(value: str) -> str:
    methods = [Path(path).stem for path in catalogue.files("methods")]
    if value not in methods:
        raise ValueError(f"accepted: {', '.join(methods)}, the names of the files in methods/")
    return value


Dataset = Annotated[str, AfterValidator(_readable(_dataset))]
StudentModel = Annotated[str, AfterValidator(_readable(_student))]
Weights = Annotated[str, AfterValidator(_readable(_weights))]
Teacher = Annotated[str, AfterValidator(_readable(_teacher))]
Preprocessing = Annotated[str, AfterValidator(_readable(_preprocessing))]
TeacherClasses = Annotated[str | dict | None, AfterValidator(_readable(_teacher_classes))]
InputSize = Annotated[int, Field(ge=1, le=4096)] | Literal["auto"]
Method = Annotated[str, AfterValidator(_method)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Seeds = Annotated[int | list[int], AfterValidator(expand_seeds)]
ClassNames = Annotated[list[int | str], AfterValidator(class_names)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
WeightDecay = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
MaxShift = Annotated[int, Field(ge=0, le=16)]
Schedule = Literal["constant", "cosine"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Compilation = Literal["auto", "xla", "none"]


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Prepare(Section):
    dataset: Dataset = Field(
        description="the images to learn from: a file of datasets/, or a folder of your own images"
    )
    validation_fraction: float = Field(gt=0, le=0.5, description="part of the training images used for model selection")
    seed: Seed = Field(description="draws the stratified validation split")
    # Those of own images need not stand in the file where a data set of datasets/ is used.
    image_size: int = Field(32, ge=8, le=512, description="own images: pixels that each side is resized to")
    test_fraction: float = Field(
        0.2, gt=0, le=0.5, description="own images: part kept for the test set, if they have none"
    )
    unreadable: Literal["refuse", "leave_out"] = Field(
        "refuse", description="own images: files that cannot be read as images: an error, or left out"
    )
    duplicates: Literal["leave_out", "keep", "refuse"] = Field(
        "leave_out",
        description="training images with the pixels of a validation or test image; `refuse`: any that occur twice",
    )


class Training(Section):
    """What the training of any model takes: `distillery.learning.settings.Training`, and dropout."""

    epochs: Epochs = Field(description="passes over the training images; the best on validation is kept")
    batch_size: BatchSize = Field(description="images per step")
    learning_rate: LearningRate = Field(description="peak learning rate of AdamW")
    schedule: Schedule = Field(description="learning rate over the steps; `cosine` warms up, then falls to zero")
    weight_decay: WeightDecay = Field(description="decoupled weight decay of AdamW")
    dropout: Dropout = Field(description="dropout rate where the architecture has dropout")
    precision: Precision = Field(
        description="arithmetic while training; `auto`: the fastest that the hardware has; saved is always float32"
    )
    compilation: Compilation = Field(
        description="of training; `auto`: with XLA but on a CPU under TensorFlow, where that is slower"
    )
    steps_per_execution: int = Field(
        ge=1, le=10_000, description="steps that run before control returns to Python; under TensorFlow"
    )
    devices: int = Field(
        ge=1,
        le=1024,
        description="devices that share each batch, on one host or on several; more than 1 with `KERAS_BACKEND=jax`",
    )

    @field_validator("devices")
    @classmethod
    def _devices_share_batches(cls, devices: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size")
        if batch_size and batch_size % devices:
            raise ValueError(f"accepted: a divisor of batch_size, {batch_size}")
        return devices


class Augment(Section):
    """What is done to views besides shift and flip: `distillery.learning.augmentation.Policy`."""

    # None need stand in the file.

    crop: float = Field(
        1.0,
        gt=0,
        le=1,
        description="least part of the whole picture's area that a view shows, scaled to the image's size; 1 for none",
    )
    brightness: float = Field(0.0, ge=0, le=1, description="changed by a factor up to so far from 1")
    contrast: float = Field(0.0, ge=0, le=1, description="changed by a factor up to so far from 1")
    saturation: float = Field(0.0, ge=0, le=1, description="changed by a factor up to so far from 1")
    erase: float = Field(0.0, ge=0, le=1, description="part of the views of which a rectangle is erased")
    mixup: float = Field(
        0.0, ge=0, le=100, description="a of Beta(a, a), the part of another image that is blended in; 0 for none"
    )
    cutmix: float = Field(
        0.0, ge=0, le=100, description="a of Beta(a, a), the area that is taken from another image; 0 for none"
    )

    @property
    def mixes(self) -> bool:
        """Whether views show two images."""
        return self.mixup > 0 or self.cutmix > 0


class Student(Training):
    """The small model, and how it learns: distilled, and from the labels alone but for section `train_scratch`."""

    model: StudentModel = Field(
        description="the small model: a file of architectures/, or your own; or a `.keras` file to start from"
    )
    # The next three need not stand in the file.
    weights: Weights = Field(
        "none",
        description="what all layers but the last start from, distilled and from scratch: `none`: drawn by the seed;"
        " `imagenet`: Keras's own; or a file of weights",
    )
    input_size: InputSize = Field("auto", description="pixels of each side that it takes; `auto`: as prepared")
    width: float = Field(1.0, gt=0, le=8, description="multiplies the channels of architectures that have a width")
    max_shift: MaxShift = Field(
        description="augmented views: the largest shift in pixels, up to a quarter of the shorter side"
    )
    horizontal_flip: bool = Field(description="augmented views: half of them mirrored left to right")
    augment: Augment = Field(Augment(), description="augmented views: what else is done to them")
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="how much an image counts, distilled and from scratch: `none`: all alike; `balanced`: the more, the"
        " fewer images its class has",
    )
    views: int = Field(
        ge=1, le=1000, description="views per image: itself and augmented ones, a different one each epoch in turn"
    )
    omit_classes: ClassNames = Field(description="names of classes left out of the students' training data")
    seeds: Seeds = Field(description="one student per seed; a list of seeds, or how many")

    @field_validator("weights", "width")
    @classmethod
    def _keras_file_brings_both(cls, value: str | float, info: ValidationInfo) -> str | float:
        if str(info.data.get("model")).endswith(".keras") and value not in ("none", 1.0):
            raise ValueError(f"the weights and the width are those of {info.data['model']}; accepted: none, 1.0")
        return value

    @field_validator("views")
    @classmethod
    def _views_need_augmentation(cls, views: int, info: ValidationInfo) -> int:
        augmented = any(
            (info.data.get("max_shift"), info.data.get("horizontal_flip"), info.data.get("augment") != Augment())
        )
        if views > 1 and not augmented:
            raise ValueError(
                "with student.max_shift 0, student.horizontal_flip false and nothing in student.augment all views are"
                " the same; accepted: 1"
            )
        if views == 1 and augmented:
            raise ValueError(
                "student.max_shift, student.horizontal_flip and student.augment act on further views of an image;"
                " accepted: 2 or more"
            )
        return views

    @field_validator("omit_classes")
    @classmethod
    def _omitted_classes_are_not_mixed_in(cls, omit_classes: list[str], info: ValidationInfo) -> list[str]:
        if omit_classes and "augment" in info.data and info.data["augment"].mixes:
            raise ValueError("images of any class are mixed in by student.augment.mixup and .cutmix; accepted: []")
        return omit_classes


class TrainTeacher(Training):
    model: Teacher = Field(
        description="the large model: a `.py` file, of architectures/ or your own, is trained; a model or a table of"
        " outputs is taken"
    )
    # Those of a teacher that is taken need not stand in the file.
    preprocessing: Preprocessing = Field(
        "auto",
        description="taken: what its pixels mean; `auto`: as a file beside it says, else what answers best on"
        " validation images",
    )
    input_size: InputSize = Field("auto", description="taken: pixels of each side that it sees; `auto`: its own")
    output: str | None = Field(None, description="taken: name of the output that counts; `null`: the one that fits")
    classes: TeacherClasses = Field(
        None,
        description="taken: outputs of each class, a file of names or a mapping; `null`: by name, or in order",
    )
    embedding: str | None = Field(
        None,
        description="taken: name of the tensor of an ONNX file that is its embedding; `null`: the last dense layer's",
    )
    ensemble: Literal["mean_probabilities", "mean_loss"] = Field(
        "mean_probabilities",
        description="taken, of several models: students learn from the mean of their probabilities at temperature 1, or"
        " by the mean of the soft losses to each",
    )
    softmax_temperature: float = Field(
        gt=0, le=1000, description="temperature in the model itself: its logits are divided by it"
    )
    max_norm: float = Field(
        ge=0, le=1000, description="bound of the norm of each unit's incoming weights in dense layers; 0 for none"
    )
    max_shift: MaxShift = Field(
        description="augmentation: the largest shift in pixels, up to a quarter of the shorter side; anew each epoch"
    )
    horizontal_flip: bool = Field(description="augmentation: mirrored left to right or not, drawn anew each epoch")
    augment: Augment = Field(Augment(), description="augmentation: what else is done, drawn anew each epoch")
    seed: Seed = Field(description="initial weights, shuffling, dropout and augmentation")


class Transfer(Section):
    # None need stand in the file.
    embedding: bool = Field(
        False, description="store the teacher's embedding of each view, too, for methods that learn from it"
    )
    attention: bool = Field(
        False, description="store the attention of the teacher's feature maps, too, for methods that learn from it"
    )
    max_gigabytes: float = Field(
        20.0, gt=0, le=1e6, description="that embeddings and attention of all views may take on the disk"
    )

    def inner(self) -> tuple[str, ...]:
        """Return the names of the inner outputs that are stored."""
        return tuple(name for name in ("embedding", "attention") if getattr(self, name))

    top_classes: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        None,
        description="classes of each view, the most probable ones, whose logits are stored, with the mass of the rest;"
        " fewer than there are; `null`: all",
    )


class SharedDistill(Section):
    """What distillation has by any method. `Distill` adds a section per method."""

    method: Method = Field(description="soft loss: the name of a file in methods/")
    temperature: float = Field(
        gt=0, le=1000, description="softens teacher's and student's probabilities in the soft loss"
    )
    alpha: float = Field(ge=0, le=1, description="weight of the hard-label loss: alpha*hard + (1 - alpha)*soft")
    t_squared: bool = Field(
        description="soft loss times temperature squared: the gradients of `kd` and `dkd` keep their size at each"
    )
    standardize_logits: bool = Field(
        False,  # need not stand in the file
        description="soft loss of logits that are shifted and scaled to mean 0 and deviation 1, image by image",
    )
    folds: int = Field(
        ge=0, le=100, description="cross-validation of the student against the teacher's labels; 0 for none"
    )

    @field_validator("folds")
    @classmethod
    def _one_fold_is_none(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("accepted: 0 for no cross-validation, or 2 and more")
        return folds

    def own(self) -> dict[str, Any]:
        """Return the parameters of the method in use, by name."""
        return getattr(self, self.method).model_dump()


def _method_section(name: str) -> type[Section]:
    """Return the section of a method's own parameters, from its file."""
    fields = {}
    for parameter in catalogue.method_parameters(name):
        bound = {int: {"ge": 1}, float: {"ge": 0}}.get(parameter.type, {})
        fields[parameter.name] = (parameter.type, Field(parameter.default, description=parameter.description, **bound))
    return create_model(name, __base__=Section, **fields)


def _distill() -> type[SharedDistill]:
    sections = {}
    for path in catalogue.files("methods"):
        name = Path(path).stem
        try:
            section = _method_section(name)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        sections[name] = (section, Field(default_factory=section, description=f"parameters of method `{name}`"))
    return create_model("Distill", __base__=SharedDistill, **sections)


class TrainScratch(Section):
    """What plain training may set otherwise than `student`: distillation is compared with the best that it can do."""

    label_smoothing: float = Field(ge=0, lt=1, description="part of each label spread evenly over all classes")
    # None stands for the students'. These need not stand in the file.
    learning_rate: LearningRate | None = Field(None, description="peak learning rate of AdamW; `null`: the students'")
    weight_decay: WeightDecay | None = Field(None, description="decoupled weight decay of AdamW; `null`: the students'")
    dropout: Dropout | None = Field(
        None, description="dropout rate where the architecture has dropout; `null`: the students'"
    )
    max_shift: MaxShift | None = Field(
        None,
        description="augmentation: the largest shift in pixels, up to a quarter of the shorter side, drawn anew each"
        " epoch; `null`: the students'",
    )
    horizontal_flip: bool | None = Field(
        None, description="augmentation: mirrored left to right or not, drawn anew each epoch; `null`: the students'"
    )
    augment: Augment | None = Field(
        None, description="augmentation: what else is done, a section like `student.augment`; `null`: the students'"
    )


class Evaluate(Section):
    calibration_bins: int = Field(ge=2, le=1000, description="confidence bins of the expected calibration error")
    sheet_images: int = Field(ge=1, le=64, description="test images on the sheet of instructive ones")


class Export(Section):
    calibration_images: int = Field(
        ge=1, le=100_000, description="training images on which the ranges of the int8 student's activations are found"
    )
    int8_max_loss: float = Field(
        ge=0,
        le=100,
        description="points of validation accuracy that the int8 student may lose; `export` fails where it loses more",
    )


class Timing(Section):
    # None need stand in the file.
    batch: int = Field(1000, ge=1, le=100_000, description="images at once when throughput is measured")
    rounds: int = Field(
        100,
        ge=3,
        le=10_000,
        description="calls on one image that are timed for latency; models take turns, each in a process of its own",
    )


class Params(Section):
    prepare: Prepare
    student: Student
    train_teacher: TrainTeacher
    transfer: Transfer = Field(default_factory=Transfer)  # need not stand in the file
    distill: SharedDistill
    train_scratch: TrainScratch
    evaluate: Evaluate
    export: Export
    timing: Timing = Field(default_factory=Timing)  # need not stand in the file

    def flat(self) -> dict[str, Any]:
        """Return `{"distill.temperature": 4.0, ...}`, as DVC names parameters, without methods that are not in use."""
        methods = {Path(path).stem for path in catalogue.files("methods")} - {self.distill.method}
        return dict(flat(self.model_dump(exclude={"distill": methods})))


def schema() -> type[Params]:
    """Return the schema with the methods that there are now.

    Raises:
        InputError: when a method's file is not one.
    """
    return create_model("Params", __base__=Params, distill=(_distill(), ...))


def load_params(path: str | Path = "params.yaml") -> Params:
    """Return all parameters, checked, those of other stages too: no long run may end at a later stage's typing error.

    Args:
        path: the YAML file.

    Raises:
        InputError: in one line, where the first mistake stands, what was found and what is accepted.
    """
    path = Path(path)
    try:
        tree = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file in {Path.cwd()}; run from the project's folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({_one_line(error)})") from None
    except (YAMLError, ValueError, LookupError, RecursionError) as error:  # `!!int ''` and `!!bool maybe` are the third
        raise InputError(f"{path}: not valid YAML ({_one_line(error)[:300]})") from None
    return check_params(tree, path)


def check_params(tree: Any, path: str | Path) -> Params:
    """Return all parameters of a tree, checked.

    Args:
        tree: what stands in the file.
        path: the file, or whatever else the tree comes from, for the message.

    Raises:
        InputError: in one line, as by `load_params`.
    """
    if not isinstance(tree, dict):
        raise InputError(f"{path}: found {_shown(tree)}, accepted: the sections {', '.join(Params.model_fields)}")
    for old, new in RENAMED.items():
        section, key = old.split(".")
        if isinstance(tree.get(section), dict) and key in tree[section]:
            raise InputError(f"{path}: {old}: is called {new} now{_hint(old, tree[section][key])}")
    kind = schema()
    try:
        params = kind.model_validate(tree)
    except ValidationError as error:
        raise InputError(_first_mistake(kind, path, error)) from None
    if params.distill.folds and params.student.augment.mixes:
        raise InputError(
            f"{path}: distill.folds: found {params.distill.folds}; images of every fold are mixed in by"
            " student.augment.mixup and .cutmix; accepted: 0"
        )
    _check_method(path, params)
    return params


def _check_method(path: str | Path, params: Params) -> None:
    """Check that the method in use is given what it reads, and that something teaches the logits.

    Raises:
        InputError: in one line, what to set.
    """
    method = params.distill.method
    try:
        outputs = catalogue.method_outputs(method)
    except ValueError as error:
        raise InputError(f"methods/{method}.py: {error}") from None
    for output in ("embedding", "attention"):
        if output in outputs and not getattr(params.transfer, output):
            raise InputError(
                f"{path}: distill.method: {method} learns from the teacher's {output}, which is stored with"
                f" transfer.{output}=true"
            )
    if "logits" not in outputs:
        if params.distill.alpha == 0:
            raise InputError(
                f"{path}: distill.alpha: found 0; {method} teaches no logits, they learn from the labels alone;"
                " accepted: above 0"
            )
        if params.distill.standardize_logits:
            raise InputError(
                f"{path}: distill.standardize_logits: found true; {method} reads no logits; accepted: false"
            )


def parsed(text: str) -> Any:
    """Return what stands in YAML.

    The parser is the one that DVC reads the file with: both see the same values; a key that stands twice is refused.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReusedAnchorWarning)
        return YAML(typ="safe", pure=True).load(text)


def _hint(old: str, value: Any) -> str:
    """Return what the new value of a renamed parameter is, where it is another."""
    return f": architectures/{value}.py" if old.endswith(".architecture") else ""


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that an annotation names, also where it may be None; None where it names no section."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _first_mistake(params: type[Params], path: str | Path, error: ValidationError) -> str:
    """Return the first mistake of pydantic's report in one line; the branches of a union are told by their key."""
    first = error.errors(include_url=False)[0]
    section, inner, field, names = params, params, None, []
    for part in first["loc"]:
        if inner is None:
            break
        section, field = inner, inner.model_fields.get(str(part))
        names.append(str(part))
        inner = _section(field.annotation) if field else None
    found, message = first["input"], first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key {names[-1]!r}; accepted: {', '.join(section.model_fields)}"
    elif first["type"] == "missing":
        message = "missing"
    else:
        if len(names) < len(first["loc"]):
            message = f"accepted: {field.description}"
        message = f"found {_shown(found)}; {message[0].lower()}{message[1:]}"
    return f"{path}: {'.'.join(map(shown, names))}: {_one_line(message)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def markdown() -> str:
    """Return `docs/parameters.md`: every parameter, its default, its meaning and what is accepted."""
    defaults = dict(flat(load_params(catalogue.ROOT / "presets/mnist.yaml").model_dump()))
    lines = [
        "# Parameters",
        "",
        "All stand in `params.yaml`. They are checked before any work starts; a mistake is reported in one line.",
        "This page is made by `python -m pipeline.params --markdown > docs/parameters.md`.",
        "",
        "| parameter | default | meaning | accepted |",
        "|---|---|---|---|",
    ]
    for name, field in fields(schema()):
        default = defaults[name]
        if default is None or isinstance(default, bool):
            default = json.dumps(default)
        lines.append(f"| `{name}` | `{default}` | {field.description} | {_accepted(name, field)} |")
    return "\n".join(lines) + "\n"


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every parameter of a schema with its name, `distill.temperature`, and its field."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


ACCEPTED = {  # of parameters whose check is a function
    "prepare.dataset": "a file of `datasets/`, a `.py` file that defines `load`, or a folder of images",
    "student.model": "a file of `architectures/`, a `.py` file that defines `features`, or a `.keras` file",
    "student.weights": "`none`, `imagenet`, or a `.weights.h5`, `.h5` or `.keras` file",
    "train_scratch.augment": "`null`, or a section with the keys of `student.augment`",
    "student.input_size": "`auto`, or a whole number, from 1 to 4,096",
    "train_teacher.model": "a file of `architectures/`, a `.py` file that defines `features`, a `.onnx`, `.keras` or"
    " `.h5` file, a folder with one, or with several, an ensemble, or a `.parquet` or `.csv` table of outputs",
    "train_teacher.preprocessing": "`auto`, the name of a convention (docs/teachers.md), or a file",
    "train_teacher.input_size": "`auto`, or a whole number, from 1 to 4,096",
    "train_teacher.output": "the name of an output, or `null`",
    "train_teacher.embedding": "the name of a tensor, or `null`",
    "train_teacher.classes": "a file of names, one a line; a mapping by class, also as a `.yaml` file; or `null`",
    "distill.method": "the name of a file in `methods/`",
    "student.omit_classes": "list of names; two classes must be left",
    "student.seeds": "1 to 100 different whole numbers, or their count",
    "student.devices": "a divisor of the batch size, from 1 to 1024",
    "train_teacher.devices": "a divisor of the batch size, from 1 to 1024",
    "distill.folds": "0, or 2 to 100",
}


def _accepted(name: str, field: Any) -> str:
    if name in ACCEPTED:
        return ACCEPTED[name]
    if type(None) in get_args(field.annotation):
        return f"{_accepted(name, FieldInfo.from_annotation(get_args(field.annotation)[0]))}; or `null`"
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation is bool:
        return "`true`, `false`"
    bounds = {
        key: getattr(bound, key) for bound in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(bound, key)
    }
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    numbers = "whole number" if field.annotation is int else "number"
    return f"{numbers}, " + " ".join(f"{words[key]} {bounds[key]:,}" for key in words if key in bounds)


def main() -> None:
    """Check `params.yaml`, or print the page of all parameters."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.params", description=main.__doc__)
    parser.add_argument("--markdown", action="store_true", help="print docs/parameters.md")
    try:
        if parser.parse_args().markdown:
            print(markdown(), end="")
        else:
            load_params()
            print("params.yaml: every parameter is accepted")
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
