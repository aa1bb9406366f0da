"""Emoji that four vendors drew, as a folder of images: `prepare.dataset=FOLDER`.

    python examples/emoji_folder.py emoji

The npm packages `emoji-datasource-*` hold PNG files of 64 × 64 pixels with transparency, and Unicode's category of
each, which is its class. Apple's and Google's are for training, Facebook's for validation, Twitter's for the test: a
student must know a subject as another hand drew it. Variations of the skin are left out. 330 MB are downloaded, and
kept in the cache.
"""

import argparse
import json
import sys
import tarfile
from pathlib import Path

from new_folder import new_folder

sys.path.append(str(Path(__file__).resolve().parent.parent))
from distillery.datasets.sources import Mirror, Unavailable, retrieve

VERSION = "16.0.0"
VENDORS = {  # the part that each is, and the digest of its package
    "apple": ("train", "b34d1665e136f163b0d4433318df151895b785186e8c729b2211b43017945075"),
    "google": ("train", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
    "facebook": ("validation", "017038cf5a4e7fcf03dd9133cbed43d4c281c4b3ce7b927c7160261b92b8821e"),
    "twitter": ("test", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"),
}
LEFT_OUT = "Component"  # colours of skin


def download(vendor: str) -> Path:
    """Return the package of a vendor."""
    name = f"emoji-datasource-{vendor}-{VERSION}.tgz"
    return retrieve(Mirror(f"npm:emoji-datasource-{vendor}@{VERSION}", {name: VENDORS[vendor][1]}), name, name)


def unpack(package: Path, vendor: str, part: Path) -> int:
    """Write the images of a package, a folder for each class, and return how many."""
    count = 0
    with tarfile.open(package) as archive:
        described = json.load(archive.extractfile("package/emoji.json"))
        class_of = {
            f"package/img/{vendor}/64/{one['image']}": one["category"].replace(" & ", "_and_")
            for one in described
            if one[f"has_img_{vendor}"] and one["category"] != LEFT_OUT
        }
        for member in archive:
            if member.isfile() and member.name in class_of:
                folder = part / class_of[member.name]
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{vendor}-{Path(member.name).name}"
                file.write_bytes(archive.extractfile(member).read())
                count += 1
    return count


def main() -> None:
    """Write the folder that the command line asks for; what goes wrong is one line and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write; it must not exist")
    given = parser.parse_args()
    try:
        with new_folder(given.out) as folder:
            for vendor, (part, _) in VENDORS.items():
                print(f"{part}: {unpack(download(vendor), vendor, folder / part):,} by {vendor}", flush=True)
    except (Unavailable, ValueError, OSError, tarfile.TarError) as error:
        sys.exit(f"emoji_folder.py: {error}")


if __name__ == "__main__":
    main()
