"""The example that makes a folder of images of the emoji of four vendors."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile

import pytest
from conftest import ROOT, environment
from PIL import Image

SCRIPT = ROOT / "examples/emoji_folder.py"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The example as a module, whose packages, small ones, lie in the cache."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    import emoji_folder

    vendors = {}
    for number, (vendor, (part, _)) in enumerate(emoji_folder.VENDORS.items()):
        path = tmp_path / f"cache/distillery/emoji-datasource-{vendor}-{emoji_folder.VERSION}.tgz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(package(vendor, number))
        vendors[vendor] = (part, hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(emoji_folder, "VENDORS", vendors)
    return emoji_folder


def package(vendor: str, number: int) -> bytes:
    described, content = [], io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        for place, category in enumerate(["Food & Drink", "Objects", "Objects", "Component"]):
            picture = io.BytesIO()
            Image.new("RGBA", (64, 64), (40 * place, 60 * number, 9, 128)).save(picture, "PNG")
            add(f"package/img/{vendor}/64/{place}.png", picture.getvalue())
            has = {f"has_img_{vendor}": place != 2 or vendor != "apple"}
            described.append({"image": f"{place}.png", "category": category, **has})
        add(f"package/img/{vendor}/64/0-skin.png", picture.getvalue())
        add("package/emoji.json", json.dumps(described).encode())
    return content.getvalue()


def test_each_vendor_is_a_part_and_each_category_a_class(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["emoji_folder.py", str(tmp_path / "emoji")])
    script.main()
    written = sorted(str(path.relative_to(tmp_path / "emoji")) for path in (tmp_path / "emoji").rglob("*.png"))
    assert written == sorted(
        [f"{part}/Food_and_Drink/{vendor}-0.png" for vendor, (part, _) in script.VENDORS.items()]
        + [f"{part}/Objects/{vendor}-1.png" for vendor, (part, _) in script.VENDORS.items()]
        + [f"{part}/Objects/{vendor}-2.png" for vendor, (part, _) in script.VENDORS.items() if vendor != "apple"]
    )
    assert (
        "train: 2 by apple\ntrain: 3 by google\nvalidation: 3 by facebook\ntest: 3 by twitter"
        in capsys.readouterr().out
    )
    with pytest.raises(SystemExit, match=r"^emoji_folder\.py: .*emoji: exists; accepted: a new folder$"):
        script.main()


def test_a_package_that_cannot_be_fetched_is_named_in_one_line_and_nothing_is_written(offline, tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path / "emoji")]
    hidden = {name: value for name, value in environment().items() if name.lower() != "path"}
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    answer = subprocess.run(
        command, env=hidden | proxies | {"PATH": ""}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith(
        "emoji_folder.py: https://registry.npmjs.org/emoji-datasource-apple/"
    )
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "emoji").exists()
