"""Pictures for tests of the demo: two digits of MNIST, and pictures as files."""

import base64
import io
import zlib

import numpy as np
from PIL import Image

SEVEN, TWO = (  # the first two images of MNIST's test set
    np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8).reshape(28, 28)
    for text in (
        "c-muN7%m`W=ltn5D%j=j{R4uJ$Dm-939_7Xkw?+u$NwGzRs4GT?_UpwW<e)DXJ=<?(Kr9HaM>OF_o5IEDY2LTgK=qV{P#`=hm`fte|EUE"
        "wf@`9ibIO?><=qk+Uovo!zJbY`-3G8DdD^Smf?_MKK<{uG7dSlfB$@ONXb9=SImghYyV7eNZEeEEm!&P-)#+?a_5DJPelM)he#I",
        "c-muNpd~1&UH$+6v{-CXEB}JQEjjE`SNk^n{ab}0W%BFqB?TS^wsU`bFywrHUy=k;RX_eZVwx#01R^i~#U=*^rQiP^<H9cG^ZoC0dmP#t"
        "{{EeSLu$jfzw>#pOG&=^`%)Q)wqt+)_TrH8`|)=#4ikk>;MUgm_wQO9+8BQP{VU0UTTWX92v`|dMMPAmO`A5E3t0{fR`f4}vZ~>7>;59Z"
        "&+p$?mX=x~3@xj!t_EqDU0tooF!%rfb*6B$",
    )
)


def enlarged(image: np.ndarray, factor: int = 10) -> np.ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


COLOURS = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)


def png(pixels: np.ndarray, **options) -> bytes:
    return saved(Image.fromarray(pixels), "PNG", **options)


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
