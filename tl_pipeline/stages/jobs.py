"""Jobs: ranges of missing rows as data that another process can compute.

A job is one range, or the same range of several stores and views, whose examples are
then decoded once. Whoever does it needs the folders of the data, the weights and the
stores under the same paths, and loads each backbone once.
"""

import dataclasses
import functools
import json
import os
import threading
from collections.abc import Mapping
from typing import NamedTuple

from tl_pipeline.digest import Json, canonical_json
from tl_pipeline.errors import SpecMismatchError
from tl_pipeline.places import Place, absolute, find_place
from tl_pipeline.progress import NoProgress
from tl_pipeline.spec import check_same_spec
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.inputs import Inputs
from tl_pipeline.stages.lanes import Computed, Lane, fill_lanes
from tl_pipeline.stages.provenance import describe_versions
from tl_pipeline.stages.targets import Target, choose_draw, make_lane, make_spec
from tl_pipeline.stages.views import Views
from tl_pipeline.store.parts import Part, write_part
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.weights.source import parse_source

MOST_BACKBONES = 4  # that a process keeps: one, and its baselines


@dataclasses.dataclass(frozen=True)
class BackboneRequest:
    """A backbone by what it is loaded from, and what it then must be.

    Attributes:
      name: The registry's name, or `package.module:factory`.
      settings: The architecture's settings, canonical JSON.
      weights: The source string; a file by its absolute path.
      compute_dtype: Of the forward pass.
      classifier: The digest of its classifier.
      spec: The feature spec of its rows, canonical JSON.
    """

    name: str
    settings: str
    weights: str
    compute_dtype: str
    classifier: str | None
    spec: str


@dataclasses.dataclass(frozen=True)
class LaneJob:
    """The rows of one range that go into one store.

    Attributes:
      group: A group of this range alone.
      path: The store's folder, absolute.
      backbone: What computes the rows.
      infos: What rows of its features look like.
      batch_size: The store's.
      views: The augmented views that they are of; None of plain rows.
      number: Which of them.
    """

    group: Group
    path: Place
    backbone: BackboneRequest
    infos: Mapping[str, FeatureInfo]
    batch_size: int
    views: Views | None
    number: int


@dataclasses.dataclass(frozen=True)
class Job:
    """Ranges of the same examples.

    Attributes:
      lanes: Where their rows go.
      inputs: The examples.
    """

    lanes: tuple[LaneJob, ...]
    inputs: Inputs

    @property
    def label(self) -> str:
        """What it is called: how many examples, from which on."""
        content = self.lanes[0].group.content
        return f"{len(content):,} examples from {content[0].tobytes().hex()[:8]}"


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
      parts: Of each lane, in order.
      opened: How many examples were opened.
      cut: How many of them were cut.
      words: How many words were looked up.
      unknown: How many of them were not found.
    """

    parts: tuple[Part, ...]
    opened: int
    cut: int
    words: int
    unknown: int


def make_lane_job(target: Target, group: Group, range_index: int) -> LaneJob:
    """Returns what another process needs to compute one range of a plan."""
    content = group.content[group.ranges[range_index]]
    alone = dataclasses.replace(group, content=content, ranges=(slice(len(content)),))
    return LaneJob(
        group=alone,
        path=find_place(absolute(target.store.path)),
        backbone=_request(target),
        infos={name: target.infos[name] for name in group.features},
        batch_size=target.store.batch_size,
        views=target.views,
        number=target.number,
    )


def do_job(job: Job, *, workers: int | None = None) -> Outcome:
    """Computes the rows of a job and writes them as parts beside the shards.

    Args:
      job: What to compute.
      workers: Decoding threads; by default one a core.

    Raises:
      SpecMismatchError: The backbone here is another one.
      StoreError: The parts cannot be written.
    """
    parts: dict[int, Part] = {}
    lanes = [_open(job, place, parts) for place in range(len(job.lanes))]
    fill_lanes(lanes, job.inputs, workers, NoProgress())
    done = tuple(parts[place] for place in sorted(parts))
    found = job.inputs
    return Outcome(done, found.opened, found.cut, found.words, found.unknown)


def _open(job: Job, place: int, parts: dict[int, Part]) -> Lane:
    lane = job.lanes[place]
    with _loading:
        backbone = _load(lane.backbone)

    def keep(range_index: int, rows: Computed) -> None:
        assert range_index == 0
        parts[place] = write_part(
            lane.path,
            lane.group,
            infos=lane.infos,
            spec=json.loads(lane.backbone.spec),
            versions=describe_versions(backbone),
            **rows._asdict(),
        )

    return make_lane(
        backbone,
        lane.group,
        job.inputs,
        batch_size=lane.batch_size,
        dtype=next(iter(lane.infos.values())).dtype,
        keep=keep,
        draw=choose_draw(backbone, lane.views, lane.number),
    )


def _request(target: Target) -> BackboneRequest:
    backbone = target.backbone
    file = parse_source(backbone.weights).path
    return BackboneRequest(
        name=backbone.name,
        settings=canonical_json(backbone.settings),
        weights=os.path.abspath(file) if file and file.exists() else backbone.weights,
        compute_dtype=backbone.compute_dtype,
        classifier=backbone.classifier_digest,
        spec=canonical_json(target.store.spec),
    )


_loading = threading.Lock()  # one process may do several jobs at once


@functools.lru_cache(maxsize=MOST_BACKBONES)
def _load(request: BackboneRequest) -> Backbone:
    """Loads a backbone, once a process, and makes sure that it is the one asked for."""
    backbone = load_backbone(
        request.name,
        weights=request.weights,
        compute_dtype=request.compute_dtype,
        settings=json.loads(request.settings),
    )
    stored: Mapping[str, Json] = json.loads(request.spec)
    found = make_spec(backbone, store_dtype=str(stored["store_dtype"])).to_json()
    what = f"Backbone {request.name} of {request.weights}, loaded by a worker,"
    check_same_spec(what, stored=stored, wanted=found)
    if backbone.classifier_digest != request.classifier:
        raise SpecMismatchError(
            f"{what} has another classifier ({backbone.classifier_digest}) than where "
            f"the extraction runs ({request.classifier}). Give all machines the same "
            "file of weights."
        )
    return backbone
