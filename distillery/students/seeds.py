"""Short forms of parameters that only students have, and what they stand for."""

MAX_SEED = 2**31 - 1


def expand_seeds(value: int | list[int]) -> list[int]:
    """Return the seeds: a list as it is, a count n as 0 … n − 1.

    Raises:
        ValueError: unless these are 1 to 100 different seeds.
    """
    seeds = list(range(min(value, 101))) if isinstance(value, int) else value  # a count may be a mistyped, huge number
    if not 1 <= len(seeds) <= 100 or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise ValueError(f"accepted: 1 to 100 different whole numbers from 0 to {MAX_SEED}, or their count")
    return seeds


def class_names(value: list[int | str]) -> list[str]:
    """Return names of classes as text: YAML reads the name of a digit as a number.

    Raises:
        ValueError: when a name stands twice.
    """
    names = [str(name) for name in value]
    if len(set(names)) != len(names):
        raise ValueError("accepted: a list of different classes' names")
    return names
