"""Mutants of `pipeline.toml`: the configuration that the file says, or a reason."""

import random
import tomllib
from pathlib import Path

from mutations import mutate_text
from verdicts import Wrong, check_message

from tl_pipeline.config import load_config, write_template
from tl_pipeline.digest import canonical_json
from tl_pipeline.errors import ConfigError


class Configs:
    def __init__(self, folder: Path):
        self.path = folder / "pipeline.toml"
        full = write_template(source="photos/", backbone="pixels", weights="pretrained")
        bare = "\n".join(
            line.partition("#")[0].rstrip() for line in full.splitlines() if line
        )
        least = '[data]\nsource = "photos/"\n[backbone]\nname = "pixels"\n'
        filled = (
            least
            + 'features = ["pool", "stage1:avg"]\n[heads]\nl2 = [1e-3, 1.0]\n'
            + '[store]\nroot = "stores"\ndtype = "float32"\nbatch_size = 8\n'
        )
        self.files = [text.encode() for text in (full, bare, least, filled)]

    def make(self, rng: random.Random) -> bytes:
        return mutate_text(rng, rng.choice(self.files), self.files)

    def check(self, data: bytes) -> str:
        self.path.write_bytes(data)
        try:
            config = load_config(self.path)
        except ConfigError as error:
            check_message(error, self.path)
            return "refused"
        said = tomllib.loads(data.decode())
        plain = config.to_json()
        canonical_json(plain)  # it becomes part of a run's identity
        for section, keys in said.items():
            for key, value in keys.items():
                found = plain[section][key]  # type: ignore[index]
                if not same(value, found):
                    raise Wrong(f"{section}.{key} = {value!r} became {found!r}")
        for section, keys in plain.items():
            for key, value in keys.items():  # type: ignore[union-attr]
                check_usable(f"{section}.{key}", value)
        return "accepted"


def same(said: object, found: object) -> bool:
    """Tells whether a value came through; a whole number may stand for a float."""
    if isinstance(said, list) and isinstance(found, list):
        return len(said) == len(found) and all(map(same, said, found))
    if type(said) is int and type(found) is float:
        return said == found
    return type(said) is type(found) and said == found


def check_usable(name: str, value: object) -> None:
    if isinstance(value, list):
        for one in value:
            check_usable(name, one)
    if isinstance(value, str) and "\0" in value:
        raise Wrong(f"{name} has a zero byte, which no path takes")


def open_subject(folder: Path) -> Configs:
    return Configs(folder)
