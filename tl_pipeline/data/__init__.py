"""What goes in: sources of examples, their digests, decoding and preprocessing."""

from tl_pipeline.data.builtin import BUILTINS as BUILTINS
from tl_pipeline.data.builtin import make_digits as make_digits
from tl_pipeline.data.builtin import make_shifted_digits as make_shifted_digits
from tl_pipeline.data.contents import Contents as Contents
from tl_pipeline.data.contents import digest_items as digest_items
from tl_pipeline.data.contents import make_examples as make_examples
from tl_pipeline.data.dataset import Dataset as Dataset
from tl_pipeline.data.dataset import Item as Item
from tl_pipeline.data.decoding import DecodeError as DecodeError
from tl_pipeline.data.decoding import decode_image as decode_image
from tl_pipeline.data.preprocessing import preprocess_image as preprocess_image
from tl_pipeline.data.preprocessing import (
    preprocessing_fingerprint as preprocessing_fingerprint,
)
from tl_pipeline.data.sources import load_dataset as load_dataset
from tl_pipeline.data.stat_cache import StatCache as StatCache
