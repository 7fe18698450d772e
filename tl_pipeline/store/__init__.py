"""The HDF5 feature store: rows of a frozen backbone, computed once, never wrong."""

from tl_pipeline.store.batches import Batch as Batch
from tl_pipeline.store.batches import Batches as Batches
from tl_pipeline.store.catalog import list_stores as list_stores
from tl_pipeline.store.failures import Failure as Failure
from tl_pipeline.store.gc import GcPlan as GcPlan
from tl_pipeline.store.gc import plan_gc as plan_gc
from tl_pipeline.store.lookup import ParityRows as ParityRows
from tl_pipeline.store.lookup import ParitySample as ParitySample
from tl_pipeline.store.manifest import Manifest as Manifest
from tl_pipeline.store.plan import Group as Group
from tl_pipeline.store.rows import Rows as Rows
from tl_pipeline.store.schema import FeatureInfo as FeatureInfo
from tl_pipeline.store.schema import find_unstorable as find_unstorable
from tl_pipeline.store.store import FeatureStore as FeatureStore
from tl_pipeline.store.store import open_store as open_store
from tl_pipeline.store.verify import verify_store as verify_store
