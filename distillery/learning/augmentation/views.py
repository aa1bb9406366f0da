"""The views of a data set's images, of which the teacher's outputs are computed once."""

import numpy as np

from distillery.data.random_streams import Purpose, generator
from distillery.learning.augmentation import mixing
from distillery.learning.augmentation.policy import Policy, apply, draw, pictures_to_crop


class Views:
    """The views of a data set's images that students see and of which the teacher's outputs are computed once.

    View 0 is the image itself. A view of an image is the same whatever the batch, the order, the process, and however
    many views there are.

    Args:
        policy: how images are augmented.
        images: number of images in the data set.
        count: views per image.
        partners: so many images, the first, are mixed with others; all when None.
    """

    def __init__(self, policy: Policy, images: int, count: int, partners: int | None = None):
        self.policy, self.images, self.count = policy, images, count
        self._partners = partners or images
        self._drawn: dict[int, np.ndarray] = {}
        self._dtype = draw(policy, 1, generator(Purpose.VIEWS, 0)).dtype

    def parameters(self, indices: np.ndarray, numbers: np.ndarray | int) -> np.ndarray:
        """Return the parameters of views, as `draw` gives them, (n,); 0 of the images themselves.

        Args:
            indices: int, (n,): which images.
            numbers: int, (n,), or one for all: the view number of each, below `count`.
        """
        numbers = np.broadcast_to(numbers, np.shape(indices))
        parameters = np.zeros(len(indices), self._dtype)
        for number in np.unique(numbers[numbers > 0]):
            if number not in self._drawn:
                # Views belong to the data: they are the same for every seed of teacher and students.
                random = generator(Purpose.VIEWS, number)
                self._drawn[number] = draw(self.policy, self.images, random, self._partners)
            shown = numbers == number
            parameters[shown] = self._drawn[number][indices[shown]]
        return parameters

    def show(
        self, images: np.ndarray, indices: np.ndarray, numbers: np.ndarray | int, source: np.ndarray | None = None
    ) -> np.ndarray:
        """Return views of images.

        Args:
            images: uint8, (n, height, width, channels).
            indices: int, (n,): which images of the data set these are.
            numbers: int, (n,), or one for all: the view number of each.
            source: all images of the data set, with which these are mixed, and whose whole pictures are cropped; not
                read where the policy does neither.

        Returns:
            uint8, the shape of `images`.
        """
        numbers = np.broadcast_to(numbers, np.shape(indices))
        drawn = self.parameters(indices, numbers)
        views = apply(images, drawn, pictures_to_crop(self.policy, source, indices))
        if not self.policy.mixes or not (mixed := mixing.mixed(drawn)).any():
            return views
        partners = drawn["partner"][mixed]
        wholes = pictures_to_crop(self.policy, source, partners)
        with_partners = apply(source[partners], self.parameters(partners, numbers[mixed]), wholes)
        views = views.copy()
        views[mixed] = mixing.mix(views[mixed], with_partners, drawn[mixed])
        return views

    def mixed_labels(
        self, labels: np.ndarray, indices: np.ndarray, numbers: np.ndarray | int, classes: int, size: tuple[int, int]
    ) -> np.ndarray:
        """Return the labels of views by a policy that mixes, float32, (n, classes): each row sums to 1.

        Args:
            labels: of all images of the data set, int, (images,).
            indices: int, (n,): which images.
            numbers: int, (n,), or one for all: the view number of each.
            classes: number of classes.
            size: height and width of the images.
        """
        drawn = self.parameters(indices, numbers)
        part = mixing.partners_part(drawn, *size)
        return mixing.mixed_labels(labels[indices], labels[drawn["partner"]], part, classes)

    def describe(self) -> dict[str, int | float | bool]:
        """Return what the views depend on, as it stands beside what is stored of them."""
        return {"views": self.count, "images": self.images, **self.policy.describe()}
