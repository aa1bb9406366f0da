"""The registry on a real MLflow database: versions, and who is champion."""

import json
import re
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from conftest import store, tracked
from mlflow.exceptions import MlflowException
from scipy.stats import binom, binomtest
from sklearn.metrics import confusion_matrix

from pipeline.tracking import registry

TEST = "a" * 64


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = mlflow.MlflowClient()
    client.create_experiment("students", artifact_location=(folder / "artifacts").as_uri())
    return client


def registered(client, name: str, digest: str, correct: np.ndarray, test: str = TEST, most_frequent: int = 0):
    """A version whose predictions stand in a run of its own, and the verdict on it."""
    experiment = client.get_experiment_by_name("students").experiment_id
    run_id = client.create_run(experiment).info.run_id
    folder = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://")) / "registration"
    folder.mkdir(parents=True)
    np.save(folder / "right.npy", correct)
    model = client.create_logged_model(experiment, name="student", source_run_id=run_id)
    version = registry.register(client, name, model.model_id, run_id, digest, test, ["# card\n"])
    return version, registry.challenge(client, version, correct, most_frequent)


def aliases(client, name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def test_challenger_becomes_champion_by_mcnemars_test_alone(client):
    correct = np.ones(1000, bool)
    correct[:40] = False  # 40 errors
    _, verdict = registered(client, "digits", "1", correct)
    assert verdict == "champion: there was none"
    assert aliases(client, "digits") == {"challenger": 1, "champion": 1}

    slightly = correct.copy()
    slightly[:10], slightly[900:904] = True, False  # 10 won, 4 lost: 34 errors
    p = 2 * binom.cdf(4, 14, 0.5)
    assert p > 0.05
    _, verdict = registered(client, "digits", "2", slightly)
    counted = "1st challenge on these images: p counts below 0.05"
    told = f"(alone correct on 10 test images, alone wrong on 4; McNemar p = {p:.2g}; {counted})"
    assert verdict == f"challenger: equal to version 1 as far as 1,000 test images tell {told}"
    assert aliases(client, "digits") == {"challenger": 2, "champion": 1}

    clearly = correct.copy()
    clearly[:20], clearly[900:904] = True, False  # 20 won, 4 lost
    assert 2 * binom.cdf(4, 24, 0.5) < 0.1 / 6
    version, verdict = registered(client, "digits", "3", clearly)
    assert verdict.startswith("champion: better than version 1 ")
    assert aliases(client, "digits") == {"challenger": 3, "champion": 3}
    assert client.get_model_version("digits", version.version).tags[registry.VERDICT_TAG] == verdict

    _, verdict = registered(client, "digits", "4", correct)  # worse, and significantly so
    p = 2 * binom.cdf(4, 24, 0.5)
    counted = "3rd challenge on these images: p counts below 0.0083"
    told = f"(alone correct on 4 test images, alone wrong on 20; McNemar p = {p:.2g}; {counted})"
    assert verdict == f"challenger: worse than version 3 {told}"
    assert aliases(client, "digits") == {"challenger": 4, "champion": 3}

    # the champion's predictions are gone, as after `mlflow gc`: no version is compared, and nothing fails
    kept = Path(client.get_run(version.run_id).info.artifact_uri.removeprefix("file://")) / registry.CORRECT
    kept_bytes = kept.read_bytes()
    kept.unlink()
    _, verdict = registered(client, "digits", "5", clearly)
    assert verdict.startswith("not compared: the artifact registration/right.npy of version 3, the champion, is gone")
    assert aliases(client, "digits") == {"challenger": 5, "champion": 3}
    kept.write_bytes(kept_bytes)

    # the same file again is the same version, and keeps its verdict
    again, verdict = registered(client, "digits", "3", clearly)
    assert again.version == version.version
    assert verdict.startswith("champion: better than version 1 ")
    assert aliases(client, "digits") == {"challenger": 3, "champion": 3}
    assert len(client.search_model_versions("name = 'digits'")) == 5

    client._tracking_client.store._hard_delete_run(version.run_id)  # what `mlflow gc` does with a deleted run
    _, verdict = registered(client, "digits", "6", clearly)
    assert verdict.startswith("not compared: the artifact registration/right.npy of version 3, the champion, is gone")


def test_every_challenge_on_the_same_images_counts(client):
    """What would be enough at first is not after others, and asking again for the same challenge is no other one."""
    correct = np.ones(500, bool)
    correct[:40] = False
    registered(client, "many", "champion", correct)
    better = correct.copy()
    better[:8], better[499] = True, False  # 8 won, 1 lost
    p = 2 * binom.cdf(1, 9, 0.5)
    assert 0.1 / 6 < p < 0.05
    _, verdict = registered(client, "many", "0", correct)
    assert "1st challenge" in verdict
    for digest in ("1", "1"):
        _, verdict = registered(client, "many", digest, better)
        assert verdict.startswith("challenger: equal to version 1 ")
        assert "2nd challenge on these images: p counts below 0.017" in verdict
    for number in range(3, 13):
        _, verdict = registered(client, "many", str(number), correct)
    assert "12th challenge on these images" in verdict
    assert client.get_registered_model("many").tags == {f"{registry.CHALLENGES_TAG}{TEST}": "12"}

    _, verdict = registered(client, "many", "elsewhere", better, test="c" * 64)
    assert verdict.startswith("not compared")
    clearly = np.ones(500, bool)
    _, verdict = registered(client, "many", "clearly", clearly)
    assert verdict.startswith("champion: better than version 1 ")
    # against another champion it is another challenge
    _, verdict = registered(client, "many", "1", better)
    assert "14th challenge on these images" in verdict


def test_model_that_gives_one_answer_never_becomes_champion(client):
    labels = np.repeat(np.arange(10), [30, *[20] * 9])
    for digest, answer in (("1", 3), ("2", 0)):
        _, verdict = registered(client, "collapsed", digest, labels == answer, most_frequent=30)
        assert verdict.startswith(f"challenger: never champion, since it is correct on {30 if answer == 0 else 20} of")
        assert verdict.endswith(" 210 test images, and one answer to all of them on 30")
        assert aliases(client, "collapsed") == {"challenger": int(digest)}
    _, verdict = registered(client, "collapsed", "3", labels < 2, most_frequent=30)
    assert verdict == "champion: there was none"
    assert aliases(client, "collapsed") == {"challenger": 3, "champion": 3}


def test_another_test_set_is_not_compared(client):
    registered(client, "letters", "1", np.arange(100) < 10)
    _, verdict = registered(client, "letters", "2", np.ones(100, bool), test="b" * 64)
    assert verdict.startswith("not compared: version 1, the champion, was tested on other images")
    assert aliases(client, "letters") == {"challenger": 2, "champion": 1}


def test_champion_made_by_hand_is_not_replaced(client):
    client.create_registered_model("mine")
    client.create_model_version("mine", source=f"runs:/{'0' * 32}/model")
    client.set_registered_model_alias("mine", "champion", "1")
    _, verdict = registered(client, "mine", "1", np.ones(10, bool))
    assert verdict.startswith("not compared: version 1")
    assert aliases(client, "mine") == {"challenger": 2, "champion": 1}


def test_same_student_again_gets_its_newest_card(client):
    correct = np.ones(10, bool)
    registered(client, "again", "1", correct)
    model = client.search_model_versions("name = 'again'")[0]
    registry.register(client, "again", model.model_id, model.run_id, "1", TEST, ["# another card\n"])
    (version,) = client.search_model_versions("name = 'again'")
    assert version.description == "# another card\n\n"


def test_other_error_of_the_server_is_raised(client):
    with pytest.raises(MlflowException):
        registry.register(client, "", "m-1", "0" * 32, "1", TEST, [])


def test_description_holds_whole_sections(client):
    card = ["# one\n", "## two\n" + "x" * 4000 + "\n", "## three\n" + "y" * 4000 + "\n"]
    text = registry.description(card)
    assert len(text) <= 5000
    assert "## two" in text
    assert "## three" not in text
    assert "MODEL_CARD.md" in text
    assert "artifact" not in registry.description(card[:2])


def test_the_pipelines_student_is_registered_with_its_card(pipeline):
    client = store(pipeline)
    run = tracked(pipeline, "workspace")["register"]
    version = client.get_model_version_by_alias("digits-student", "champion")
    assert version.run_id == run.info.run_id
    assert version.tags[registry.VERDICT_TAG] == run.data.tags["distillery.verdict"] == "champion: there was none"
    card = (pipeline / "MODEL_CARD.md").read_text()
    assert card.startswith(version.description.split("\nThe whole card")[0].rstrip("\n"))
    folder = Path(client.download_artifacts(run.info.run_id, ""))
    assert (folder / "MODEL_CARD.md").read_text() == card
    # the version is the model that `distill` logged, and not another copy
    maker = tracked(pipeline, "workspace")["distill"].info.run_id
    assert client.get_logged_model(version.source.removeprefix("models:/")).source_run_id == maker


def test_the_cards_numbers_are_the_runs(pipeline):
    card = (pipeline / "MODEL_CARD.md").read_text()
    model = keras.models.load_model(pipeline / "models/exported/student.keras")
    images, labels = (np.load(pipeline / f"data/prepared/test_{part}.npy") for part in ("images", "labels"))
    predicted = model.predict(images, verbose=0).argmax(axis=1)
    errors, confusion = int((predicted != labels).sum()), confusion_matrix(labels, predicted)
    assert (
        f"**accuracy {100 * np.mean(predicted == labels):.2f} %** on {len(labels)} test images, {errors} errors" in card
    )
    assert f"{model.count_params():,} parameters" in card
    recall = np.diag(confusion) / confusion.sum(axis=1)
    weakest = int(np.argmin(recall))
    total = int(confusion[weakest].sum())
    low, high = binomtest(int(confusion[weakest, weakest]), total).proportion_ci(0.95, method="wilson")
    row = f"| {weakest} | {100 * recall[weakest]:.1f} % | {100 * low:.1f} to {100 * high:.1f} % | {total} |"
    assert card.index(row) == card.index("|---|---|---|---|\n") + len("|---|---|---|---|\n")
    about = json.loads((pipeline / "data/prepared/dataset.json").read_text())
    assert all(digest in card for digest in about["digests"].values())
    headline = json.loads((pipeline / "metrics/evaluate.json").read_text())
    for name, over in (("gain", "plain training with its own recipe"), ("gain_over_same_recipe", "the same recipe")):
        row = re.escape(f"| {headline[name]['points']:+.2f} | {headline[name]['ci_low']:+.2f} to ")
        assert re.search(rf"^\| {over}[^|]* {row}", card, re.MULTILINE)
    assert "| `distill.temperature` | 4.0 |" in card
