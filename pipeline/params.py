"""The schema of `params.yaml`: every parameter, its type, its range and its meaning.

This module is imported before anything slow, so that a mistake costs a fraction of a second and not a training run.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML, YAMLError

from distillery.data.errors import InputError

_LIBRARY = Path(__file__).parent.parent / "distillery"


def _public_functions(module: Path) -> list[str]:
    """Names of the public functions of a module, read from its text so that nothing heavy is imported."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def architectures() -> list[str]:
    """Every architecture: a public function of `distillery/learning/architectures.py`."""
    return _public_functions(_LIBRARY / "learning" / "architectures.py")


def datasets() -> list[str]:
    """Every data set: a public function of `distillery/datasets/datasets.py`."""
    return _public_functions(_LIBRARY / "datasets" / "datasets.py")


def _one_of(names: list[str], value: str) -> str:
    if value not in names:
        raise ValueError(f"accepted: {', '.join(names)}")
    return value


def _known_architecture(value: str) -> str:
    return _one_of(architectures(), value)


def _known_dataset(value: str) -> str:
    return _one_of(datasets(), value)


def _expand_seeds(value: int | list[int]) -> list[int]:
    seeds = list(range(min(value, 101))) if isinstance(value, int) else value  # a count may be a mistyped, huge number
    if not 1 <= len(seeds) <= 100 or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise ValueError(f"accepted: 1 to 100 different whole numbers from 0 to {MAX_SEED}, or their count")
    return seeds


def _train_or_own(value: str) -> str:
    if value != TRAINED and not value.endswith(".keras"):
        raise ValueError(f"accepted: {TRAINED}, whose `architecture` is then trained, or a .keras file of your own")
    return value


def _class_names(value: list[int | str]) -> list[str]:
    names = [str(name) for name in value]
    if len(set(names)) != len(names):
        raise ValueError("accepted: a list of different classes' names")
    return names


MAX_SEED = 2**31 - 1
TRAINED = "distillery/learning/architectures.py"  # where the teacher comes from when the user brings none

Architecture = Annotated[str, AfterValidator(_known_architecture)]
Dataset = Annotated[str, AfterValidator(_known_dataset)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Seeds = Annotated[int | list[int], AfterValidator(_expand_seeds)]
ClassNames = Annotated[list[int | str], AfterValidator(_class_names)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
WeightDecay = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Jitter = Annotated[int, Field(ge=0, le=16)]
Schedule = Literal["constant", "cosine"]
Precision = Literal["float32", "mixed_bfloat16"]
Compilation = Literal["auto", "xla", "none"]


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Prepare(Section):
    dataset: Dataset = Field(description="the images to learn from")
    folder: str = Field(min_length=1, description="`dataset: folder`: your images, one subfolder a class")
    image_size: int = Field(ge=8, le=512, description="`dataset: folder`: pixels that each side is resized to")
    test_fraction: float = Field(gt=0, le=0.5, description="`dataset: folder`: part kept for the test set")
    validation_fraction: float = Field(gt=0, le=0.5, description="part of the training images kept for validation")
    seed: Seed = Field(description="draws the stratified validation split")


class Training(Section):
    """What training any model takes."""

    architecture: Architecture = Field(description="a function of distillery/learning/architectures.py")
    epochs: Epochs = Field(description="passes over the training images; the best on validation is kept")
    batch_size: BatchSize = Field(description="images a step")
    learning_rate: LearningRate = Field(description="peak learning rate of AdamW")
    schedule: Schedule = Field(description="learning rate over the steps; `cosine` warms up, then falls to zero")
    weight_decay: WeightDecay = Field(description="decoupled weight decay of AdamW")
    dropout: Dropout = Field(description="dropout rate where the architecture has dropout")
    precision: Precision = Field(description="arithmetic while training; what is saved is always float32")
    compilation: Compilation = Field(
        description="of training; `auto`: with XLA but on a CPU under TensorFlow, where that is slower"
    )
    steps_per_execution: int = Field(
        ge=1, le=10_000, description="steps that run before control returns to Python; under TensorFlow"
    )
    devices: int = Field(
        ge=1, le=64, description="devices of this host that share each batch; more than 1 with `KERAS_BACKEND=jax`"
    )

    @field_validator("devices")
    @classmethod
    def _devices_share_batches(cls, devices: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size")
        if batch_size and batch_size % devices:
            raise ValueError(f"accepted: a divisor of batch_size, {batch_size}")
        return devices


class Student(Training):
    """The budget that the distilled student and the one from scratch share."""

    jitter: Jitter = Field(description="augmented views: shifted by up to so many pixels")
    flip: bool = Field(description="augmented views: half of them mirrored left to right")
    views: int = Field(
        ge=1, le=1000, description="views of each image: itself and augmented ones, a different one each epoch in turn"
    )
    omit_classes: ClassNames = Field(description="names of classes left out of the students' training data")
    seeds: Seeds = Field(description="one student each; a list of seeds, or how many")

    @field_validator("views")
    @classmethod
    def _views_need_augmentation(cls, views: int, info: ValidationInfo) -> int:
        augmented = bool(info.data.get("jitter") or info.data.get("flip"))
        if views > 1 and not augmented:
            raise ValueError("with student.jitter 0 and student.flip false all views are the same; accepted: 1")
        if views == 1 and augmented:
            raise ValueError("student.jitter and student.flip act on further views of an image; accepted: 2 or more")
        return views


class TrainTeacher(Training):
    model: Annotated[str, AfterValidator(_train_or_own)] = Field(
        description=f"`{TRAINED}` trains the architecture; a `.keras` file is a teacher of your own, taken as it is"
    )
    softmax_temperature: float = Field(
        gt=0,
        le=1000,
        description="temperature in the model itself: its logits are divided by it",
    )
    max_norm: float = Field(
        ge=0, le=1000, description="bound of the norm of each unit's incoming weights in dense layers; 0 for none"
    )
    jitter: Jitter = Field(description="augmentation: each image shifted by up to so many pixels, anew each epoch")
    flip: bool = Field(description="augmentation: each image mirrored left to right or not, anew each epoch")
    seed: Seed = Field(description="initial weights, shuffling, dropout and augmentation")


class Distill(Section):
    method: Literal["kd", "dkd", "dist"] = Field(
        description="soft loss: `kd` Hinton, Vinyals & Dean 2015; `dkd` Zhao et al. 2022; `dist` Huang et al. 2022"
    )
    temperature: float = Field(
        gt=0, le=1000, description="softens teacher's and student's probabilities in the soft loss"
    )
    t_squared: bool = Field(
        description="soft loss times temperature squared: the gradients of `kd` and `dkd` keep their size at each"
    )
    alpha: float = Field(ge=0, le=1, description="weight of the hard-label loss: alpha*hard + (1 - alpha)*soft")
    dkd_alpha: float = Field(ge=0, le=1000, description="`dkd`: weight of target against the rest")
    dkd_beta: float = Field(ge=0, le=1000, description="`dkd`: weight of the classes other than the target")
    dist_beta: float = Field(ge=0, le=1000, description="`dist`: weight of the relation between classes of an image")
    dist_gamma: float = Field(ge=0, le=1000, description="`dist`: weight of the relation between images of a class")
    folds: int = Field(
        ge=0, le=100, description="cross-validation of the student against the teacher's labels; 0 for none"
    )

    @field_validator("folds")
    @classmethod
    def _one_fold_is_none(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("accepted: 0 for no cross-validation, or 2 and more")
        return folds


class TrainScratch(Section):
    label_smoothing: float = Field(ge=0, lt=1, description="part of each label spread evenly over all classes")


class Evaluate(Section):
    bootstrap_samples: int = Field(
        ge=100, le=1_000_000, description="resamples behind the confidence interval of the gain"
    )
    bootstrap_seed: Seed = Field(description="draws the resamples")
    calibration_bins: int = Field(ge=2, le=1000, description="confidence bins of the expected calibration error")
    sheet_images: int = Field(ge=1, le=64, description="test images on the sheet of instructive ones")
    timing_batch: int = Field(ge=1, le=100_000, description="images at once when throughput is measured")
    timing_rounds: int = Field(
        ge=3, le=10_000, description="rounds of the latency measurement; teacher and student alternate"
    )


class Export(Section):
    calibration_images: int = Field(
        ge=1, le=100_000, description="training images on which the ranges of the int8 student's activations are found"
    )
    int8_max_loss: float = Field(
        ge=0,
        le=100,
        description="points of validation accuracy that the int8 student may lose; `export` fails where it loses more",
    )


class Params(Section):
    prepare: Prepare
    student: Student
    train_teacher: TrainTeacher
    distill: Distill
    train_scratch: TrainScratch
    evaluate: Evaluate
    export: Export

    def flat(self) -> dict[str, Any]:
        """`{"distill.temperature": 4.0, ...}`, the form in which tracking and DVC name parameters."""
        return {f"{name}.{key}": value for name, section in self.model_dump().items() for key, value in section.items()}


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check all parameters, those of other stages too: no long run may end at a later stage's typing error.

    Args:
        path: the YAML file.

    Raises:
        InputError: in one line, where the first mistake stands, what was found and what is accepted.
    """
    path = Path(path)
    try:
        # The parser that DVC reads the file with: both see the same values, and a key that stands twice is refused.
        tree = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file in {Path.cwd()}; run from the project's folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({_one_line(error)})") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML ({_one_line(error)})") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: found {_shown(tree)}, accepted: the sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise InputError(_first_mistake(path, error)) from None


def _first_mistake(path: Path, error: ValidationError) -> str:
    """One line of pydantic's report. A list's `type` mistakes are told by key, not by union branch."""
    mistakes = error.errors(include_url=False)
    first = mistakes[0]
    where = ".".join(str(part) for part in first["loc"][:2])
    found, message = first["input"], first["msg"].removeprefix("Value error, ")
    section = Params.model_fields.get(str(first["loc"][0]))
    if first["type"] == "extra_forbidden":
        known = Params.model_fields if len(first["loc"]) == 1 else section.annotation.model_fields
        message = f"unknown key {first['loc'][-1]!r}; accepted: {', '.join(known)}"
    elif first["type"] == "missing":
        message = "missing"
    else:
        if section is not None and len(first["loc"]) > 2:  # a union: the same key once for each type that it may have
            field = section.annotation.model_fields[str(first["loc"][1])]
            message = f"accepted: {field.description}"
        message = f"found {_shown(found)}; {message[0].lower()}{message[1:]}"
    return f"{path}: {where}: {_one_line(message)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
