"""A target: rows of one view that an extraction puts into a store, and their maker."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from tl_pipeline.backbones.architecture import CLASSIFIER_OUTPUTS
from tl_pipeline.backbones.features import feature_shape, resolve_features
from tl_pipeline.data.preparing import fingerprint
from tl_pipeline.digest import Json
from tl_pipeline.examples import Examples
from tl_pipeline.places import Place
from tl_pipeline.spec import PLAIN, FeatureSpec, View
from tl_pipeline.stages.backbones import Backbone, require_images
from tl_pipeline.stages.inputs import Inputs
from tl_pipeline.stages.lanes import Computed, Draw, Lane
from tl_pipeline.stages.parity import check_parity
from tl_pipeline.stages.provenance import describe_versions
from tl_pipeline.stages.views import Views, make_drawer, take_train
from tl_pipeline.store.merge import Merged
from tl_pipeline.store.parts import Part
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.space import foresee_store, make_store
from tl_pipeline.store.store import FeatureStore


@dataclasses.dataclass
class Target:
    """Rows of one view that an extraction puts into a store.

    Attributes:
      backbone: What computes its rows.
      features: The features asked for, by canonical name.
      infos: What rows of these features look like.
      store: The store; one that is not there yet is made by `make_store`.
      examples: The examples whose rows it should hold.
      versions: What computes rows now.
      computed: Examples whose rows were computed so far.
      merged: What became of small shards.
      parity: The record of the last live check.
      views: The augmented views that this is one of; None of a plain one.
      number: Which of them; 0 is the plain one.
    """

    backbone: Backbone
    features: tuple[str, ...]
    infos: Mapping[str, FeatureInfo]
    store: FeatureStore
    examples: Examples
    versions: Mapping[str, str]
    computed: int = 0
    merged: Merged = Merged(0, 0)
    parity: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    views: Views | None = None
    number: int = 0

    @property
    def view(self) -> View:
        """The view of its rows."""
        return PLAIN if self.views is None else self.views.view(self.number)

    def make_store(self) -> None:
        """Makes the store, unless it is there."""
        self.store = make_store(self.store)

    def list_views(self, views: Views | None) -> list["Target"]:
        """Returns a target of each view of the training examples, in the same store."""
        if views is None:
            return []
        part = take_train(self.examples)
        return [
            dataclasses.replace(self, examples=part, views=views, number=number)
            for number in range(1, views.count + 1)
        ]

    def plan(self, retry_failed: bool) -> list[Group]:
        """Returns the rows that are missing."""
        return self.store.plan(
            self.examples.content,
            self.features,
            view=self.view,
            retry_failed=retry_failed,
        )

    def open_lane(self, group: Group, inputs: Inputs) -> Lane:
        """Opens the lane that computes a group of missing rows and commits them."""

        def commit(range_index: int, rows: Computed) -> None:
            self.store.commit(
                group, range_index, versions=self.versions, **rows._asdict()
            )
            self.computed += len(rows.content)

        return make_lane(
            self.backbone,
            group,
            inputs,
            batch_size=self.store.batch_size,
            dtype=self.store.dtype,
            keep=commit,
            draw=self._make_drawer(),
        )

    def commit_part(self, group: Group, range_index: int, part: Part) -> None:
        """Commits a range that another process computed."""
        self.store.commit_part(group, range_index, part)
        self.computed += part.entry.rows if part.entry else 0

    def check_parity(
        self, inputs: Inputs, viewed: Sequence["Target"] = ()
    ) -> Mapping[str, Json]:
        """Compares committed rows with live ones; see `check_parity`.

        Args:
          inputs: The dataset.
          viewed: Of the views of the same store, the first and the last are compared.
        """
        kinds = [self, *viewed[:1], *viewed[1:][-1:]]
        self.parity = check_parity(
            self.store,
            inputs,
            make_forward=self.backbone.make_forward,
            preprocess=self.backbone.preprocess,
            versions=self.versions,
            draws={kind.view: kind._make_drawer() for kind in kinds},
        )
        return self.parity

    def merge(self) -> None:
        """Merges the small shards of many extractions."""
        self.merged = self.store.merge()

    def record_extraction(
        self, rows: int, seconds: float, *, source: str, roles: Mapping[str, str]
    ) -> None:
        """Keeps in the store's history how fast rows were computed, and of what."""
        self.store.record_extraction(
            {
                "dataset": self.examples.dataset,
                "source": source,
                "columns": dict(roles),
                "snapshot": self.examples.digest,
                "examples": len(self.examples),
                "rows_computed": rows,
                "seconds": seconds,
                "weights": self.backbone.weights,
                "weights_origin": dict(self.backbone.weights_origin),
                "versions": dict(self.versions),
            }
        )

    def _make_drawer(self) -> Draw | None:
        return choose_draw(self.backbone, self.views, self.number)


def choose_draw(backbone: Backbone, views: Views | None, number: int) -> Draw | None:
    """Returns what draws a view of each input; None of the plain one."""
    if views is None:
        return None
    preprocess = require_images(backbone.preprocess, asked="views")
    return make_drawer(views, number, preprocess)


def make_lane(
    backbone: Backbone,
    group: Group,
    inputs: Inputs,
    *,
    batch_size: int,
    dtype: str,
    keep: Callable[[int, Computed], None],
    draw: Draw | None,
) -> Lane:
    """Makes the lane of a group of missing rows; see `Lane`.

    Args:
      backbone: Computes them.
      group: The rows.
      inputs: The examples.
      batch_size: B, the store's.
      dtype: The store's.
      keep: What becomes of each range.
      draw: From `choose_draw`.
    """
    return Lane(
        group,
        forward=backbone.make_forward(group.features),
        preprocess=backbone.preprocess,
        batch_size=batch_size,
        dtype=dtype,
        keep=keep,
        name_of=lambda content: inputs.ids(content)[0],
        draw=draw,
    )


def make_spec(backbone: Backbone, *, store_dtype: str) -> FeatureSpec:
    """Returns the feature spec of a backbone's rows: what names their store."""
    return FeatureSpec(
        backbone=backbone.name,
        settings=backbone.settings,
        weights=backbone.weights_digest,
        preprocess=backbone.preprocess.to_json(),
        fingerprint=fingerprint(backbone.preprocess),
        compute_dtype=backbone.compute_dtype,
        store_dtype=store_dtype,
        source=backbone.source,
    )


def open_target(
    backbone: Backbone,
    features: Sequence[str],
    examples: Examples,
    *,
    root: Place,
    store_dtype: str,
    batch_size: int,
) -> Target:
    """Opens the store of a backbone's features; one to be made is not made yet.

    Raises:
      BackboneError: A feature name is unknown; the message lists the known ones.
      SpecMismatchError: The store holds the feature with another classifier.
    """
    shapes = backbone.feature_shapes()
    resolved = resolve_features(
        features, shapes, backbone=backbone.name, poolings=backbone.preprocess.poolings
    )
    infos = {
        feature.name: FeatureInfo(
            shape=feature_shape(feature, shapes),
            dtype=store_dtype,
            classifier=backbone.classifier_digest
            if feature.output in CLASSIFIER_OUTPUTS
            else None,
        )
        for feature in resolved
    }
    store = foresee_store(
        root,
        name=backbone.name,
        spec=make_spec(backbone, store_dtype=store_dtype).to_json(),
        features=infos,
        batch_size=batch_size,
    )
    return Target(
        backbone=backbone,
        features=tuple(infos),
        infos=infos,
        store=store,
        examples=examples,
        versions=describe_versions(backbone),
    )
