"""MLflow's model registry: versions of a student, and which of them is its champion.

A version keeps which test images it classifies correctly. So a new version is compared with the champion without
running the champion again, and only if both were tested on the same images. The registered model counts the challenges
on a test set: the more there were, the smaller p has to be.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from distillery.evaluation.comparison import sign_test, significance
from pipeline.tracking.logged_model import DIGEST_TAG

CHALLENGER, CHAMPION = "challenger", "champion"
TEST_TAG = "distillery.test_sha256"
VERDICT_TAG = "distillery.verdict"
CHALLENGES_TAG = "distillery.challenges."  # and the test set's digest: how many there were, of the registered model
CHALLENGE_TAG = "distillery.challenge"  # of a version: its number, and the version that was champion
CORRECT = "registration/right.npy"  # Note: the name in the registries that exist
MAX_DESCRIPTION_LENGTH = 5000  # characters that MLflow keeps


def register(
    client: MlflowClient, name: str, model_id: str, run_id: str, digest: str, test_digest: str, card: Sequence[str]
) -> ModelVersion:
    """Return the version of a model in the registry, a new one if the same file was not registered before.

    Args:
        client: of the registry.
        name: of the registered model; made if it is missing.
        model_id: the logged model's.
        run_id: the run that keeps, as the artifact `CORRECT`, which test images it classifies correctly.
        digest: SHA-256 of the model's file.
        test_digest: of the test set.
        card: its model card, section by section; the description holds the first ones.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name = '{name}'"):
        if (version.tags.get(DIGEST_TAG), version.tags.get(TEST_TAG)) == (digest, test_digest):
            return client.update_model_version(name, version.version, description(card))
    return client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={DIGEST_TAG: digest, TEST_TAG: test_digest},
        description=description(card),
    )


def description(card: Sequence[str]) -> str:
    """Return the first sections of a card, as many as a description holds, and where the rest is."""
    rest = "\nThe whole card is the artifact `MODEL_CARD.md` of the run that registered this version.\n"
    text = ""
    for section in card:
        if len(text) + len(section) + 1 + len(rest) > MAX_DESCRIPTION_LENGTH:
            return text + rest
        text += section + "\n"
    return text


def challenge(client: MlflowClient, version: ModelVersion, correct: np.ndarray, most_frequent: int) -> str:
    """Make a version the challenger, and the champion if it is better than the champion by McNemar's test.

    Args:
        client: of the registry.
        version: the new version.
        correct: bool, (n,): which test images it classifies correctly.
        most_frequent: number of test images of the most frequent class. A model that gives one answer to every image
            is correct on no more, and never becomes the champion.

    Returns:
        The verdict in words, which the version also keeps as a tag.
    """
    name = version.name
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    champion = _champion(client, name)
    if champion is not None and champion.version == version.version:
        return champion.tags.get(VERDICT_TAG, "champion")
    if correct.sum() <= most_frequent:
        better = False
        verdict = (
            f"challenger: never champion, since it is correct on {correct.sum():,} of {len(correct):,} test images, and"
            f" one answer to all of them on {most_frequent:,}"
        )
    else:
        better, verdict = _verdict(client, champion, version, correct)
    client.set_model_version_tag(name, version.version, VERDICT_TAG, verdict)
    if better:
        client.set_registered_model_alias(name, CHAMPION, version.version)
    return verdict


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    if (number := client.get_registered_model(name).aliases.get(CHAMPION)) is None:
        return None
    return client.get_model_version(name, str(number))


def _verdict(
    client: MlflowClient, champion: ModelVersion | None, version: ModelVersion, correct: np.ndarray
) -> tuple[bool, str]:
    if champion is None:
        return True, "champion: there was none"
    if champion.tags.get(TEST_TAG) != version.tags[TEST_TAG]:
        return False, (
            f"not compared: version {champion.version}, the champion, was tested on other images; to replace it, "
            f"give this version the alias {CHAMPION} by hand"
        )
    if not _has_predictions(client, champion.run_id):
        return False, (
            f"not compared: the artifact {CORRECT} of version {champion.version}, the champion, is gone; to"
            f" replace it, give this version the alias {CHAMPION} by hand"
        )
    champions_correct = np.load(Path(client.download_artifacts(champion.run_id, CORRECT)), allow_pickle=False)
    wins, losses, p = sign_test(correct.astype(np.int8) - champions_correct.astype(np.int8))
    number = _challenge_number(client, champion, version)
    bound = significance(number)
    found = (
        f"(alone correct on {wins:,} test images, alone wrong on {losses:,}; McNemar p = {p:.2g};"
        f" {_ordinal(number)} challenge on these images: p counts below {bound:.2g})"
    )
    if p >= bound:
        same = f"equal to version {champion.version} as far as {len(correct):,} test images tell"
        return False, f"challenger: {same} {found}"
    if wins < losses:
        return False, f"challenger: worse than version {champion.version} {found}"
    return True, f"champion: better than version {champion.version} {found}"


def _has_predictions(client: MlflowClient, run_id: str) -> bool:
    try:
        return CORRECT in [file.path for file in client.list_artifacts(run_id, str(Path(CORRECT).parent))]
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the run is gone, as after `mlflow gc`
            raise
        return False


def _challenge_number(client: MlflowClient, champion: ModelVersion, version: ModelVersion) -> int:
    """Return the number of this challenge on its test images, from 1; the same one when it is asked for again."""
    number, _, against = version.tags.get(CHALLENGE_TAG, "").partition(" against version ")
    if against == str(champion.version):
        return int(number)
    tag = CHALLENGES_TAG + version.tags[TEST_TAG]
    number = 1 + int(client.get_registered_model(version.name).tags.get(tag, 0))
    # This one first: where it is interrupted, a challenge counts twice and not never.
    client.set_registered_model_tag(version.name, tag, str(number))
    of_version = f"{number} against version {champion.version}"
    client.set_model_version_tag(version.name, version.version, CHALLENGE_TAG, of_version)
    return number


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
