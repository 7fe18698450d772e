"""Heads: what is trained on features. Importing this, or `heads.head`, loads no jax."""

from tl_pipeline.heads.grid import sklearn_c as sklearn_c
from tl_pipeline.heads.head import Head as Head
from tl_pipeline.heads.preparation import Preparation as Preparation
from tl_pipeline.heads.preparation import Steps as Steps
from tl_pipeline.heads.preparation import apply_preparation as apply_preparation
from tl_pipeline.heads.preparation import fit_preparation as fit_preparation
from tl_pipeline.heads.standardize import Standardizer as Standardizer
from tl_pipeline.heads.standardize import apply_standardizer as apply_standardizer
from tl_pipeline.heads.standardize import fit_standardizer as fit_standardizer
