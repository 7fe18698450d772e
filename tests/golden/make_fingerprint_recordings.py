"""Makes the recordings that `audio_fingerprint` is taken over.

They were made once, with soundfile 0.14.0, and are part of the package: making them
anew with other samples changes every store's digest.

    python tests/golden/make_fingerprint_recordings.py FOLDER

with tl_pipeline/data/fingerprint_audio as the folder.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile


def main(folder: Path) -> None:
    """Writes the recordings into a folder."""
    rng = np.random.default_rng([0, 2])
    folder.mkdir(parents=True, exist_ok=True)
    seconds = np.arange(15_435) / 44_100
    chirp = 0.4 * np.sin(2 * np.pi * (200 + 9_000 * seconds) * seconds)
    tone = 0.1 * np.sin(2 * np.pi * 3_000 * seconds) * (seconds > 0.1)
    stereo = np.stack([chirp, tone], axis=1)
    soundfile.write(folder / "stereo.flac", stereo, 44_100, subtype="PCM_16")
    noise = rng.uniform(-0.2, 0.2, 3_210) * np.linspace(0, 1, 3_210)
    soundfile.write(folder / "noise.wav", noise, 16_000, subtype="PCM_16")
    hum = 0.6 * np.sign(np.sin(2 * np.pi * 120 * np.arange(2_400) / 8_000))
    soundfile.write(folder / "telephone.wav", hum, 8_000, subtype="ULAW")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
