"""timing: how fast teacher and student predict here, and the student in each format. It belongs to this machine."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distillery.data.files import file_digest, read_json, write_json
from distillery.data.prepared import load_info, load_split
from distillery.export.formats import FORMATS
from distillery.learning.onnx_model import OnnxModel, load_onnx
from distillery.learning.resizing import resized
from distillery.students.choice import Students, load_students
from distillery.teachers.teacher import Teacher, load_teacher
from distillery.timing import cores, latency_and_throughput, processor, speedup

PREPARED = Path("data/prepared")
TEACHER, DISTILLED, EXPORTED = Path("models/teacher"), Path("models/distilled"), Path("models/exported")
HEADLINE, TIMING = Path("metrics/evaluate.json"), Path("metrics/timing.json")
RECEIPT = Path("models/timed.json")  # not in Git: a fresh clone, perhaps on another machine, has not measured yet


def main(params, run) -> None:
    """Measure and write how fast they are."""
    settings = params.timing
    teacher, students = load_teacher(TEACHER), load_students(DISTILLED)
    student = OnnxModel(students.chosen.with_suffix(".onnx"))
    run.dataset(load_info(PREPARED), context="timing")
    images = np.asarray(load_split(PREPARED, "test").images[: settings.batch])
    small = resized(images, student.image_shape[:2])

    print("latency and throughput, teacher and student in turn", flush=True)
    timing = measure(teacher, student.path, {"teacher": images, "distilled": small}, settings.rounds)
    print("the student's formats in turn, each in its own runtime", flush=True)
    timing["formats"] = measure_formats(small, settings.rounds)
    where = machine(teacher, students)
    write_json(TIMING, timing | {"machine": where})
    write_json(RECEIPT, {"teacher_sha256": teacher.digest, "student_sha256": file_digest(students.chosen)})
    run.metrics(timing)
    if "teacher" in timing:
        log_figure(run, timing, teacher, student, read_json(HEADLINE))
    print_summary(timing, where["runtime"])


def measure(teacher: Teacher, student: Path, images: Mapping[str, np.ndarray], rounds: int) -> dict:
    """Return how fast teacher and student predict as they ship, and how many times as fast the student does.

    Both run in ONNX Runtime, since Keras's own overhead would hide the difference; a teacher that ONNX does not have
    runs in Keras, and `machine` says so. A teacher from elsewhere is timed with what is done to its pixels. A table of
    outputs has no speed.

    Args:
        teacher: the teacher.
        student: its ONNX file.
        images: of `teacher` and of `distilled`, each of the size that it takes.
        rounds: as for `latency_and_throughput`.
    """
    loads, here = {"distilled": (load_onnx, student)}, {}
    if teacher.timed:
        loads["teacher"] = teacher.timed
    elif teacher.runtime:
        here["teacher"] = teacher.predict
    timed = latency_and_throughput(loads, images, rounds, here)
    timing = {role: timed[role] for role in ("teacher", "distilled") if role in timed}
    if "teacher" in timing:
        timing["speedup"] = speedup(timing["teacher"], timing["distilled"])
    return timing


def measure_formats(images: np.ndarray, rounds: int) -> dict[str, dict]:
    """Return how fast each format predicts: Keras in this process, which has loaded it, the others in their own."""
    loads = {name: (format.load, EXPORTED / format.FILE) for name, format in FORMATS.items()}
    load, path = loads.pop("keras")
    timing = latency_and_throughput(loads, images, rounds, here={"keras": load(path)})
    return {name: timing[name] for name in FORMATS}


def machine(teacher: Teacher, students: Students) -> dict:
    """Return what was measured on, and the precision that the models were trained in."""
    return {
        "processor": processor(),
        "cores": cores(),
        "threads": os.environ.get("TF_NUM_INTRAOP_THREADS", ""),
        "runtime": {"teacher": teacher.runtime, "distilled": "ONNX Runtime"},
        "precision": {"teacher": teacher.precision, "distilled": students.precision},
    }


def log_figure(run, timing: Mapping, teacher: Teacher, student: OnnxModel, headline: Mapping) -> None:
    """Log accuracy, size and latency in one figure: to MLflow alone, since what stands in plots/ may not vary."""
    roles = ("teacher", "distilled")
    sizes = {"teacher": teacher.bytes, "distilled": student.path.with_suffix(".keras").stat().st_size}
    parameters = {"teacher": teacher.parameters, "distilled": student.parameters}
    run.figure(
        "comparison",
        "comparison_with_latency",
        accuracy={role: headline[role]["accuracy"] for role in roles},
        accuracy_std={"distilled": headline["distilled"]["accuracy_std"]},
        parameters={role: count for role, count in parameters.items() if count},
        kilobytes={role: size / 1000 for role, size in sizes.items() if size},
        milliseconds={role: timing[role]["latency_ms"]["median"] for role in roles},
    )


def print_summary(timing: Mapping, runtime: Mapping[str, str]) -> None:
    """Print how many times as fast the student is, and a line per format."""
    if "speedup" in timing:
        times, where = timing["speedup"], f"in {runtime['distilled']}"
        if runtime["teacher"] != runtime["distilled"]:
            where += f"; the teacher in {runtime['teacher']}"
        print(f"speed: {times['latency']:.1f}x on one image, {times['throughput']:.1f}x on many, {where}", flush=True)
    print(f"{'':>12}{'ms per image':>14}{'images/s':>12}")
    for name, values in timing["formats"].items():
        print(
            f"{name:>12}{values['latency_ms']['median']:>14.3f}{values['images_per_second']['median']:>12,.0f}",
            flush=True,
        )
