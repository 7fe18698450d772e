"""A file of weights opened for a network: which layout it is in, and what it says."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tl_pipeline.backbones.architecture import CLASSIFIER_PREFIX, Architecture
from tl_pipeline.backbones.published import (
    as_settings,
    checkpoint_preprocess,
    find_checkpoint,
)
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.digest import Json, bytes_digest
from tl_pipeline.errors import MisfitError, WeightsError, shorten
from tl_pipeline.preprocess import (
    AudioPreprocess,
    ImagePreprocess,
    Preprocess,
    TextPreprocess,
)
from tl_pipeline.stages.audio_checkpoints import imply_length, read_audio_preprocess
from tl_pipeline.stages.text_checkpoints import imply_settings, read_text_preprocess
from tl_pipeline.weights.extractor_files import FILE as EXTRACTOR
from tl_pipeline.weights.hub import BESIDE, fetch_weights, find_in_folder
from tl_pipeline.weights.merge import (
    LEFT_OUT,
    TRANSFORMS,
    Account,
    KeyRule,
    account_tensors,
    merge_tensors,
    named_tensors,
)
from tl_pipeline.weights.preprocessing import read_preprocess
from tl_pipeline.weights.reading import load_tensors
from tl_pipeline.weights.safetensors import write_safetensors
from tl_pipeline.weights.source import HubName, WeightsSource
from tl_pipeline.weights.tensors import Tensors
from tl_pipeline.weights.unwrap import View, apply_view, list_views

_FORMATS_OF_ONE_LAYOUT = ("keras-h5", "keras-weights-h5", "google-npz", "darknet")
_BESIDE = "said beside the file"
OWN_LAYOUT = "tl-pipeline"  # parameters under this package's names
# In the metadata of a file of ours: how its inputs are prepared, the settings that the
# network was trained with, and of texts the tokenizer.
PREPROCESS, SETTINGS, TOKENIZER = "preprocess", "settings", "tokenizer"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file of weights, opened for an architecture.

    Attributes:
      architecture: Its preprocessing is what these weights want.
      layout: Whose names the file uses: of `Architecture.key_rules`, or `OWN_LAYOUT`.
      tensors: The file's, under the names of the layout.
      n_tensors: How many the file holds.
      rules: Of the layout.
      shapes: Of every parameter, with a classifier as the file has it.
      origin: As `Backbone.weights_origin`.
    """

    architecture: Architecture
    layout: str
    tensors: Tensors
    n_tensors: int
    rules: list[KeyRule]
    shapes: Mapping[str, tuple[int, ...]]
    origin: Mapping[str, Json]

    @property
    def optional(self) -> str:
        """What the file may lack; a network of a user's own has no classifier apart."""
        return CLASSIFIER_PREFIX if self.architecture.classes is not None else ""

    def account(self) -> Account:
        """Says which tensor is which parameter, and what is left on either side."""
        return account_tensors(
            self.tensors,
            rules=self.rules,
            shapes=self.shapes,
            optional=self.optional,
        )

    def merge(self) -> dict[str, np.ndarray]:
        """Returns the network's parameters; see `merge_tensors`.

        Raises:
          MisfitError: Something does not fit; the message lists all of it.
        """
        return merge_tensors(
            self.tensors,
            rules=self.rules,
            shapes=self.shapes,
            optional=self.optional,
            what=self.architecture.what,
        )


def open_checkpoint(
    architecture: Architecture,
    source: WeightsSource,
    *,
    settings: Mapping[str, Json] | None = None,
) -> Checkpoint:
    """Opens a file of weights for an architecture.

    What weights were trained with, as an epsilon, or gray images, becomes a setting,
    where it is not the default and nobody asked for another.

    Args:
      architecture: What they should fit.
      source: A file, a file of a hub, or the architecture's own default.
      settings: What was asked of the architecture.

    Raises:
      WeightsError: The file cannot be had or read, or is in no known layout.
    """
    from tl_pipeline.backbones.network import network_shapes

    file, place = _find_file(architecture, source)
    loaded = load_tensors(file)
    view, layout, rules = _choose_layout(architecture, loaded)
    tensors = apply_view(loaded, view)
    published = find_checkpoint(
        architecture.checkpoints,
        file=file.name,
        sha256=loaded.sha256,
        layout=layout,
        hub=str(place.get("hub") or ""),
    )
    implied = {
        **architecture.layout_settings.get(layout, {}),
        **(_own_settings(loaded) if layout == OWN_LAYOUT else {}),
        **_count_channels(architecture, tensors, rules),
        **as_settings((published or {}).get("settings")),
    }
    takes = architecture.preprocess.takes
    # A file that fine-tuning wrote has all of it itself.
    told = {"texts": TOKENIZER, "recordings": PREPROCESS}.get(takes)
    has_beside = told is not None and told not in loaded.metadata
    if has_beside and takes == "texts":
        implied |= imply_settings(architecture, tensors, rules, file.parent)
    elif has_beside:
        implied |= imply_length(architecture, file.parent)
    if implied:
        chosen = {**implied, **(settings or {})}
        architecture = make_architecture(architecture.name, settings=chosen)
    if has_beside and takes == "texts":
        preprocess = read_text_preprocess(architecture, file.parent)
        whose = _BESIDE
    elif has_beside:
        preprocess = read_audio_preprocess(architecture, file.parent)
        whose = _BESIDE if (file.parent / EXTRACTOR).is_file() else "the network's own"
    else:
        preprocess, whose = _find_preprocess(architecture, loaded, layout, published)
    architecture = dataclasses.replace(architecture, preprocess=preprocess)
    classes = _count_classes(tensors, rules)
    origin = _describe_origin(source, tensors, view, rules, published)
    return Checkpoint(
        architecture=architecture,
        layout=layout,
        tensors=tensors,
        n_tensors=len(loaded.arrays),
        rules=rules,
        shapes=network_shapes(architecture, classes or architecture.classes),
        origin={**origin, **place, "preprocess": whose},
    )


def write_checkpoint(
    path: Path,
    architecture: Architecture,
    arrays: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str],
) -> None:
    """Writes parameters to a file that is loaded as the network that they are of.

    Args:
      path: Of the `.safetensors` file; one that is there is replaced.
      architecture: Its settings and preprocessing go into the file.
      arrays: float32 by dotted name.
      metadata: What else is known of them.
    """
    known = {
        SETTINGS: json.dumps(architecture.settings),
        PREPROCESS: json.dumps(architecture.preprocess.to_json()),
    }
    if isinstance(architecture.preprocess, TextPreprocess):
        known[TOKENIZER] = architecture.preprocess.content
    write_safetensors(path, arrays, metadata={**metadata, **known})


def _find_preprocess(
    architecture: Architecture,
    tensors: Tensors,
    layout: str,
    published: Mapping[str, Json] | None,
) -> tuple[Preprocess, str]:
    """Returns how images become inputs for weights, and by whose word."""
    usual = architecture.preprocesses.get(layout, architecture.preprocess)
    if isinstance(usual, TextPreprocess):  # of a file of ours, which has its tokenizer
        return _own_tokenizer(tensors, usual), _say_whose(layout, published, True)
    if isinstance(usual, AudioPreprocess):  # likewise
        return _own_front_end(tensors, usual), _say_whose(layout, published, True)
    assert isinstance(usual, ImagePreprocess)
    if layout == OWN_LAYOUT:
        usual = _own_preprocess(tensors.metadata.get(PREPROCESS), usual)
    wanted = checkpoint_preprocess(published, usual) if published else usual
    found = read_preprocess(tensors.path, wanted)
    return found, _say_whose(layout, published, found is wanted)


def _own_settings(tensors: Tensors) -> dict[str, Json]:
    """Returns the settings that a file of ours was trained with; none of an old one."""
    try:
        settings = json.loads(tensors.metadata.get(SETTINGS, "{}"))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise WeightsError(
            f"Weights {tensors.path} name their settings as "
            f"{shorten(tensors.metadata[SETTINGS])}, which is no JSON object. Write "
            "the file again."
        )
    return settings


def _own_tokenizer(tensors: Tensors, usual: TextPreprocess) -> TextPreprocess:
    """Returns how texts are prepared, by the tokenizer in a file of ours."""
    content = tensors.metadata[TOKENIZER]
    return TextPreprocess(bytes_digest(content.encode()), usual.max_length, content)


def _own_front_end(tensors: Tensors, usual: AudioPreprocess) -> AudioPreprocess:
    """Returns the front end that a file of ours names; windows stay as asked."""
    found = AudioPreprocess.from_json(json.loads(tensors.metadata[PREPROCESS]))
    return dataclasses.replace(
        found, length=usual.length, max_windows=usual.max_windows
    )


def _own_preprocess(text: str | None, usual: ImagePreprocess) -> ImagePreprocess:
    """Returns the preprocessing that a file of ours names; the size stays as asked."""
    if text is None:
        return usual
    found = ImagePreprocess.from_json(json.loads(text))
    if found.size == usual.size:
        return found
    return dataclasses.replace(found, size=usual.size, resize_size=usual.resize_size)


def _find_file(
    architecture: Architecture, source: WeightsSource
) -> tuple[Path, dict[str, Json]]:
    """Returns the file, and where on a hub it is from."""
    if source.path is not None:
        return find_in_folder(source.path), {}
    name = source.hub
    if name is None and architecture.bundled is not None:
        return architecture.bundled, {}
    name = name or _find_on_hub(architecture)
    if name is None:
        raise WeightsError(
            f"Asked for {architecture.name} with pretrained weights: none come with "
            f"this package, and none are on a hub. {architecture.how_to_get}"
        )
    found = fetch_weights(name, beside=BESIDE[architecture.preprocess.takes])
    return found.path, {"hub": name.repository, "commit": found.commit}


def _find_on_hub(architecture: Architecture) -> HubName | None:
    """Returns the first of the published weights that a hub has."""
    for checkpoint in architecture.checkpoints:
        if repository := checkpoint.get("hub"):
            return HubName(str(repository), file=str(checkpoint.get("file") or ""))
    return None


def _choose_layout(
    architecture: Architecture, tensors: Tensors
) -> tuple[View, str, list[KeyRule]]:
    """Returns the view and layout that name most tensors, and the layout's rules."""
    from tl_pipeline.backbones.network import network_shapes

    own = network_shapes(architecture, architecture.classes)
    layouts = {
        OWN_LAYOUT: [KeyRule(name, name) for name in own],
        **{
            layout: [KeyRule(*rule) for rule in rules]
            for layout, rules in architecture.key_rules.items()
        },
    }

    def fit(choice: tuple[View, str]) -> tuple[int, bool]:
        view, layout = choice
        named: set[str] = set()
        for rule in layouts[layout]:
            named |= named_tensors(rule, view.sources.keys())
        # Of a file that fits none, the mismatches with its like are listed.
        return len(named), layout == tensors.format

    views = list_views(tensors.arrays)
    view, best = max(((v, layout) for v in views for layout in layouts), key=fit)
    # A PyTorch file may be of any layout: all its names are listed as they differ.
    if fit((view, best)) == (0, False) and tensors.format in _FORMATS_OF_ONE_LAYOUT:
        raise MisfitError(
            f"Weights {tensors.path} ({tensors.format}) are in no layout from which "
            f"{architecture.name} is loaded: it takes {', '.join(layouts)}, and none "
            f"of these names {shorten(', '.join(sorted(tensors.arrays)) or 'nothing')}."
        )
    return view, best, layouts[best]


def _count_classes(tensors: Tensors, rules: list[KeyRule]) -> int | None:
    """Returns K of the file's classifier, which the file alone knows."""
    for rule in rules:
        if rule.target == f"{CLASSIFIER_PREFIX}bias":
            for source in named_tensors(rule, tensors.arrays):
                return tensors.arrays[source].size
    return None


def _count_channels(
    architecture: Architecture, tensors: Tensors, rules: list[KeyRule]
) -> dict[str, Json]:
    """Returns the setting of a file whose first kernel takes gray images."""
    for rule in rules:
        if rule.target == architecture.first_kernel and rule.target:
            for source in named_tensors(rule, tensors.arrays):
                kernel = TRANSFORMS[rule.transform](tensors.arrays[source])
                return {"channels": 1} if kernel.shape[-2:-1] == (1,) else {}
    return {}


def _count_left_out(view: View, rules: list[KeyRule]) -> int:
    """Returns how many tensors are no part of the network, buffers not counted."""
    named: set[str] = set()
    for rule in rules:
        if rule.target == LEFT_OUT:
            named |= named_tensors(rule, view.sources.keys())
    return view.n_left_out + len(named)


def _describe_origin(
    source: WeightsSource,
    tensors: Tensors,
    view: View,
    rules: list[KeyRule],
    published: Mapping[str, Json] | None,
) -> dict[str, Json]:
    """Says where weights come from, by the file's own word or its published name."""
    facts = {
        key: tensors.metadata.get(key, (published or {}).get(key))
        for key in ("source_dataset", "license")
    }
    n_left_out = _count_left_out(view, rules)
    return {
        "kind": source.kind,
        "file": tensors.path.name,
        "sha256": tensors.sha256,
        **facts,
        **({"unwrapped": view.prefix} if view.prefix else {}),
        **({"left_out": n_left_out} if n_left_out else {}),
    }


def _say_whose(
    layout: str,
    published: Mapping[str, Json] | None,
    nothing_beside: bool,
) -> str:
    """Says by whose word images are prepared as they are."""
    if not nothing_beside:
        return _BESIDE
    if published:
        return f"published with {published['name']}"
    if layout == OWN_LAYOUT:
        return "the network's own"
    if layout in _FORMATS_OF_ONE_LAYOUT:
        return f"as files of {layout} want it"
    return f"usual for files of {layout}: nothing says how these weights want it"
