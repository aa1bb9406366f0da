"""evaluate: the three models on the test set, which no other stage touches: metrics, figures and the comparison."""

from pathlib import Path

from distillery.data.errors import InputError
from pipeline.command import run_stage
from pipeline.params import Params
from pipeline.tracking.journal import Journal

MODELS = Path("models")
FIGURES = Path("plots/figures")
RECEIPT = MODELS / "evaluated.json"  # not in Git: a fresh clone has no record of an evaluation yet, and makes one
TRAINED_BY = {"teacher": "train_teacher", "distilled": "distill", "scratch": "train_scratch"}


def evaluate(params: Params, run: Journal) -> None:
    """Write metrics, tables and figures."""
    import numpy as np

    from distillery.data.files import file_digest, write_json
    from distillery.data.prepared import load_description, load_split
    from distillery.data.tables import read_columns, write_table
    from distillery.evaluation.comparison import accuracy_gain
    from distillery.evaluation.headline import class_accuracy, headline_metrics, omitted_metrics, quality_metrics
    from distillery.learning.metrics import named
    from distillery.learning.models import load_model
    from distillery.learning.prediction import predict_logits
    from distillery.students.train import load_students, predict_students

    settings = params.evaluate
    about, test = load_description(), load_split("test")
    classes, labels = about["classes"], np.asarray(test.labels)
    run.dataset(about, context="evaluation")

    teacher = load_model(MODELS / "teacher.keras")
    students = {kind: load_students(MODELS / kind) for kind in ("distilled", "scratch")}
    if students["distilled"].teacher_digest != file_digest(MODELS / "teacher.keras"):
        raise InputError("models/distilled learned from another teacher than models/teacher.keras; run `dvc repro`")
    # One model a kind, chosen on validation, for what cannot be averaged over the seeds.
    chosen = {"teacher": teacher} | {kind: group.models[group.chosen_seed] for kind, group in students.items()}
    paths = {"teacher": MODELS / "teacher.keras"} | {
        kind: MODELS / kind / f"seed_{group.chosen_seed}.keras" for kind, group in students.items()
    }

    count = 1 + sum(len(group.models) for group in students.values())
    print(f"logits of {count} models over {len(labels):,} test images", flush=True)
    logits = {"teacher": predict_logits(teacher, test.images)[np.newaxis]}  # (models, n, classes)
    logits |= {kind: predict_students(group.models, test.images) for kind, group in students.items()}
    chosen_logits = {"teacher": logits["teacher"][0]} | {
        kind: logits[kind][list(group.models).index(group.chosen_seed)] for kind, group in students.items()
    }

    correct = {kind: models.argmax(axis=2) == labels for kind, models in logits.items()}
    gain = accuracy_gain(correct["distilled"], correct["scratch"], settings.bootstrap_samples, settings.bootstrap_seed)
    parameters = {kind: model.count_params() for kind, model in chosen.items()}
    sizes = {kind: path.stat().st_size for kind, path in paths.items()}
    curves = {kind: read_columns(f"plots/{stage}/curves.csv") for kind, stage in TRAINED_BY.items()}
    headline = headline_metrics(correct, gain, parameters, sizes)
    quality = quality_metrics(labels, logits, gain, settings.calibration_bins, curves)
    if omitted := [classes.index(name) for name in students["distilled"].omitted_classes]:
        validation = load_split("validation")
        validation_logits = {
            kind: predict_students(group.models, validation.images) for kind, group in students.items()
        }
        headline["omitted"] = omitted_metrics(omitted, labels, logits, np.asarray(validation.labels), validation_logits)
    by_class = class_accuracy(labels, logits)
    per_class = {kind: named(values, classes) for kind, values in by_class.items()}
    says = {kind: [classes[best] for best in one.argmax(axis=1)] for kind, one in chosen_logits.items()}

    write_json("metrics/evaluate.json", headline)
    write_json("metrics/quality.json", quality)
    write_json("metrics/per_class.json", per_class)
    write_table(
        "plots/evaluate/per_class.csv",
        ["class", "model", "accuracy"],
        [(name, kind, value) for kind, values in per_class.items() for name, value in values.items()],
    )
    write_table(
        "plots/evaluate/predictions.csv",
        ["actual", *says],
        zip([classes[label] for label in labels], *says.values(), strict=True),
    )
    run.metrics({"distilled": headline["distilled"]} | headline)  # MLflow's Compare opens with what comes first
    run.metrics(quality)
    run.table("per_class_accuracy.json", per_class)

    print("latency and throughput, teacher and student in turn", flush=True)
    timing = _timing(
        {kind: chosen[kind] for kind in ("teacher", "distilled")},
        np.asarray(test.images[: settings.timing_batch]),
        settings.timing_rounds,
    )
    write_json("metrics/timing.json", timing)
    run.metrics(timing)

    print("figures", flush=True)
    _draw(
        run,
        classes,
        test.images,
        labels,
        chosen_logits,
        by_class,
        {
            "accuracy": {kind: headline[kind]["accuracy"] for kind in logits},
            "accuracy_std": {kind: headline[kind]["accuracy_std"] for kind in ("distilled", "scratch")},
            "parameters": parameters,
            "kilobytes": {kind: size / 1000 for kind, size in sizes.items()},
        },
        {kind: timing[kind]["latency_ms"]["median"] for kind in ("teacher", "distilled")},
        curves,
        settings.sheet_images,
        (headline["omitted"], students["distilled"].omitted_classes) if omitted else None,
    )
    digests = {kind: file_digest(path) for kind, path in paths.items()}
    run.made_by(digests)
    write_json(RECEIPT, digests | {"test": test.digest})
    _print_summary(headline, timing)
    for kind, models in logits.items():
        if count := quality[kind]["models_of_one_class"]:
            warning = (
                f"{count} of {len(models)} models of the kind {kind} say the same class of every test image: they"
                f" learned nothing; look at learning_rate and epochs, and at plots/{TRAINED_BY[kind]}/curves.csv"
            )
            print(f"warning: {warning}", flush=True)
            run.tags({f"distillery.warning.{kind}": warning})


def _timing(models: dict, images, rounds: int) -> dict:
    """How fast teacher and student answer, and how many times faster the student does."""
    from distillery.timing import latency_and_throughput

    predict = {kind: model.predict_on_batch for kind, model in models.items()}
    timing = latency_and_throughput(predict, images, rounds)
    teacher, student = timing["teacher"], timing["distilled"]
    timing["speedup"] = {
        "latency": teacher["latency_ms"]["median"] / student["latency_ms"]["median"],
        "throughput": student["images_per_second"]["median"] / teacher["images_per_second"]["median"],
    }
    return timing


def _draw(run, classes, images, labels, logits, by_class, costs, milliseconds, curves, sheet_images, omitted) -> None:
    """Draw every figure, for DVC and for MLflow."""
    from scipy.special import softmax

    from distillery import figures
    from distillery.evaluation.instructive import instructive_order
    from distillery.learning.metrics import confusion_matrix

    confusions = {kind: confusion_matrix(labels, one.argmax(axis=1), len(classes)) for kind, one in logits.items()}
    probabilities = {kind: softmax(logits[kind].astype("float64"), axis=1) for kind in ("teacher", "distilled")}
    sheet = instructive_order(labels, *probabilities.values())[:sheet_images]
    drawn = {
        "comparison": figures.comparison(**costs),
        "training_curves": figures.training_curves(curves),
        "confusion_matrices": figures.confusion_matrices(confusions, classes),
        "per_class_accuracy": figures.per_class_accuracy(by_class, classes),
        "per_class_gain": figures.per_class_gain(100 * (by_class["distilled"] - by_class["scratch"]), classes),
        "instructive_images": figures.sheet(
            images[sheet], labels[sheet], {kind: values[sheet] for kind, values in probabilities.items()}, classes
        ),
    }
    if omitted:
        drawn["omitted_classes"] = figures.omitted_classes(*omitted)
    for name, figure in drawn.items():
        figures.save_figure(figure, FIGURES / f"{name}.png")
        run.artifact(FIGURES / f"{name}.png", "figures")

    # Latency varies from run to run, and what stands in plots/ may not: this one goes to MLflow alone.
    run.figure("comparison", "comparison_with_latency", **costs, milliseconds=milliseconds)


def _print_summary(headline: dict, timing: dict) -> None:
    for kind in TRAINED_BY:
        print(f"{kind:>10}: {100 * headline[kind]['accuracy']:.2f} % right, {headline[kind]['errors']:.1f} errors")
    for kind, omitted in headline.get("omitted", {}).items():
        print(
            f"{kind:>10}: of the classes it never saw {100 * omitted['accuracy']:.2f} % right; with a bias tuned on "
            f"validation {100 * omitted['accuracy_corrected']:.2f} %, "
            f"then {omitted['errors_in_all_corrected']:.1f} errors in all"
        )
    gain, compression, speedup = headline["gain"], headline["compression"], timing["speedup"]
    print(
        f"      gain: {gain['points']:+.2f} points for distilling "
        f"(95 % interval {gain['ci_low']:+.2f} to {gain['ci_high']:+.2f}, McNemar p = {gain['mcnemar_p']:.2g})\n"
        f"   student: {_times(compression['parameters'], 'fewer', 'MORE')} parameters, "
        f"{_times(compression['bytes'], 'fewer', 'MORE')} bytes, "
        f"{speedup['latency']:.1f}x the speed on one image, {speedup['throughput']:.1f}x on many",
        flush=True,
    )


def _times(ratio: float, above: str, below: str) -> str:
    """A ratio for people: a student that is larger than its teacher is said to be so, plainly."""
    return f"{ratio:.1f}x {above}" if ratio >= 1 else f"{1 / ratio:.1f}x {below}"


if __name__ == "__main__":
    run_stage(
        "evaluate", evaluate, sections=["prepare", "student", "train_teacher", "distill", "train_scratch", "evaluate"]
    )
