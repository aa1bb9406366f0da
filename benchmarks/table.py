"""The tables of what was measured, between two marks in README.md."""

from collections.abc import Iterator, Mapping
from statistics import median

from benchmarks.record import kept, tell
from experiments.run import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- made by `python -m benchmarks` -->\n", "<!-- end of what `python -m benchmarks` made -->\n"


def write_tables() -> None:
    """Put the tables between the marks."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + tables() + END + after, encoding="utf-8")
    tell(f"{README.name}: the tables are new")


def tables() -> str:
    """A section for each measurement that there is."""
    sections = {
        "keras_distiller": against_keras,
        "pipeline": whole_pipeline,
        "profile": profile,
        "steps": step_rate,
        "scale": scale,
        "precision": precision,
        "stacked": stacked,
    }
    lines = []
    for name, section in sections.items():
        if numbers := kept(name):
            lines += ["", *section(numbers), "", f"`python -m benchmarks {name}`: {machine(numbers['machine'])}."]
    return "\n".join([*lines, "", ""])


def machine(about: Mapping) -> str:
    """On what it was measured."""
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items() if number)
    return f"{about['cores']} cores of {about['processor']}, Python {about['python']}, {versions}"


def against_keras(numbers: Mapping) -> Iterator[str]:
    """Distilling here, by Keras's own Distiller, and by that of its guide."""
    rows = {
        "distill": "here, `distill`",
        "scratch": "here, `train_scratch`: the student alone",
        "keras": "`keras.distillation.Distiller`, `KLDivergence()`, without XLA",
        "keras_guide": "the Keras guide's `Distiller`, compiled as it is by default; from a quarter of the images",
    }
    epochs = {name: median(numbers[name]["epoch_seconds"][1:]) for name in rows}
    here = numbers["distill"]["process_seconds"]
    yield "**Against Keras's own**: the Keras guide's networks, MNIST, batches of 64, temperature 10, alpha 0.1."
    yield ""
    yield "| | an epoch | times `distill` | ten epochs, the whole process | times `distill` | right on the test set |"
    yield "|---|---|---|---|---|---|"
    for name, title in rows.items():
        seconds, epoch = numbers[name]["process_seconds"], epochs[name]
        whole = f"{seconds:.1f} s | {seconds / here:.1f}" if name != "keras_guide" else " | "
        right = f"{100 * numbers[name]['test_accuracy']:.2f} %" if name != "keras_guide" else ""
        yield f"| {title} | {epoch:.2f} s | {epoch / epochs['distill']:.1f} | {whole} | {right} |"
    yield ""
    yield (
        f"The teacher's logits, counted once for all epochs and all experiments: the stage `transfer` took"
        f" {numbers['transfer_seconds']:.1f} s. Here an epoch has validation and a resume point in it, and the process"
        " imports, tracking and tables; with Keras it is training alone."
    )


def whole_pipeline(numbers: Mapping) -> Iterator[str]:
    """Stages of the default from nothing, of the next experiment, and of digits."""
    commands = {
        "cold": "`dvc repro`, nothing cached",
        "next": "`dvc exp run -S distill.temperature=5` after it",
        "digits_before": f"digits, one epoch everywhere, at commit `{numbers['before']}`",
        "digits": "the same now",
    }
    stages = list(numbers["cold"]["stages"])
    yield "**The whole pipeline**, seconds of each stage; what is left of the sum is DVC's own."
    yield ""
    yield f"| | {' | '.join(f'`{stage}`' for stage in stages)} | DVC | together |"
    yield f"|---|{'---|' * (len(stages) + 2)}"
    for name, title in commands.items():
        one = numbers[name]
        shown = " | ".join(f"{one['stages'][stage]:.1f}" if stage in one["stages"] else "" for stage in stages)
        own = one["seconds"] - sum(one["stages"].values())
        yield f"| {title} | {shown} | {own:.1f} | {one['seconds']:.1f} |"
    cold, after = numbers["cold"], numbers["next"]
    ratio = cold["stages"]["distill"] / cold["stages"]["train_scratch"]
    yield ""
    yield (
        f"`distill` takes {ratio:.2f} times as long as `train_scratch` with the same student; the next experiment"
        f" {after['seconds'] / cold['seconds']:.2f} of the first; digits"
        f" {numbers['digits']['seconds'] / numbers['digits_before']['seconds']:.2f} of the time at that commit, the"
        " last before costs were looked into; `dvc repro` with nothing to do"
        f" {numbers['nothing']['seconds']:.1f} s. What a Python takes that imports and does no more: "
        + ", ".join(f"{name} {value:.1f} s" for name, value in numbers["imports"].items())
        + "."
    )


def profile(numbers: Mapping) -> Iterator[str]:
    """Parts of each stage that has nothing to compute."""
    stages = numbers["stages"]
    yield "**Where that goes**: digits, one epoch everywhere, seconds by Python's profiler, which slows it down."
    yield ""
    yield f"| | {' | '.join(f'`{stage}`' for stage in stages)} | together |"
    yield f"|---|{'---|' * (len(stages) + 1)}"
    for part in next(iter(stages.values())):
        seconds = [one[part] for one in stages.values()]
        shown = " | ".join(f"{value:.1f}" if value >= 0.05 else "" for value in seconds)
        yield f"| {part} | {shown} | {sum(seconds):.1f} |"


def step_rate(numbers: Mapping) -> Iterator[str]:
    """Training here and in PyTorch."""
    rates, most = numbers["images_per_second"], numbers["multiply_flops"]
    yield "**Step rate**: images a second of training, and as a part of the machine's rate of multiplying matrices."
    yield ""
    yield "| | precision | `distill` | `train_scratch` | with Keras's own Adam | PyTorch | part of the machine's rate |"
    yield "|---|---|---|---|---|---|---|"
    for architecture, multiplications in numbers["multiplications"].items():
        for kind in most:
            found = {
                how: rates[f"{architecture}.{kind}.{how}"]
                for how in ("distill", "scratch", "scratch_keras_adam", "pytorch")
            }
            part = found["scratch"] * 6 * multiplications / most[kind]
            shown = " | ".join(f"{value:,.0f}" for value in found.values())
            yield f"| `{architecture}` | `{kind}` | {shown} | {100 * part:.0f} % |"
    yield ""
    yield (
        "The machine's rate: "
        + ", ".join(f"{value / 1e9:,.0f} GFLOP/s in `{kind}`" for kind, value in most.items())
        + "."
    )


def scale(numbers: Mapping) -> Iterator[str]:
    """Images a second and memory at several sizes."""
    yield "**Scale**: `dense_128` distilled on 28 × 28 images and logits that lie on the disk, generated."
    yield ""
    yield "| images | on the disk | images/s | shuffling an epoch | memory of its own | of files, mapped |"
    yield "|---|---|---|---|---|---|"
    for count, one in numbers.items():
        if count.isdigit():
            yield (
                f"| {int(count):,} | {one['data_gigabytes']:.2f} GB"
                f" | {one['images_per_second']:,.0f}"
                f" | {one['shuffle_seconds']:.2f} s | {one['own_gigabytes']:.2f} GB"
                f" | {one['mapped_gigabytes']:.2f} GB |"
            )
    many = numbers["thousand_classes"]
    yield ""
    yield (
        f"A thousand classes, 60,000 images: logits in half precision take {many['half_gigabytes']:.2f} GB instead of"
        f" {many['full_gigabytes']:.2f}; the student has {100 * many['half_accuracy']:.2f} % right instead of"
        f" {100 * many['full_accuracy']:.2f} %, and says the same of {100 * many['agreement']:.2f} % of the images;"
        f" {many['half_images_per_second']:,.0f} images/s instead of {many['full_images_per_second']:,.0f}."
    )


def precision(numbers: Mapping) -> Iterator[str]:
    """What is fastest for each network."""
    rates = numbers["images_per_second"]
    kinds = [("float32", "none"), ("float32", "xla"), ("mixed_bfloat16", "none"), ("mixed_bfloat16", "xla")]
    yield "**Precision and compilation**, images a second of training from scratch under TensorFlow."
    yield ""
    yield f"| | {' | '.join(f'`{kind}`, {how}' for kind, how in kinds)} | the fastest with 1, 16, 64 steps at once |"
    yield f"|---|{'---|' * (len(kinds) + 1)}"
    for architecture in dict.fromkeys(key.split(".")[0] for key in rates):
        shown = [rates[f"{architecture}.{kind}.{how}.64"] for kind, how in kinds]
        kind, how = kinds[shown.index(max(shown))]
        steps = " / ".join(f"{rates[f'{architecture}.{kind}.{how}.{count}']:,.0f}" for count in (1, 16, 64))
        cells = " | ".join(f"**{value:,.0f}**" if value == max(shown) else f"{value:,.0f}" for value in shown)
        yield f"| `{architecture}` | {cells} | {steps} |"
    yield ""
    yield (
        "The default pipeline, all models trained in one precision, has right on the test set: "
        + "; ".join(
            f"`{kind}`: " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in accuracies.items())
            for kind, accuracies in numbers["default"].items()
        )
        + "."
    )


def stacked(numbers: Mapping) -> Iterator[str]:
    """Seeds one after the other, and as one stack."""
    yield (
        f"**{numbers['seeds']:.0f} seeds in one pass**, as a stack of students in which every layer is one batched"
        " product of matrices. The pipeline does not do it: the sums round differently, and so the students are others."
    )
    yield ""
    yield "| | precision | one after the other, an epoch | stacked | times faster | same answers after 4 epochs |"
    yield "|---|---|---|---|---|---|"
    for name, one in numbers["students"].items():
        architecture, kind = name.split(".")
        single, together = one["one_after_the_other"], one["stacked"]
        yield (
            f"| `{architecture}` | `{kind}` | {single:.2f} s | {together:.2f} s | {single / together:.2f}"
            f" | {100 * one['same_answers']:.2f} % |"
        )
