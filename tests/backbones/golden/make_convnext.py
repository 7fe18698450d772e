"""Makes convnext.json: outputs of timm's, torchvision's and transformers' ConvNeXt.

    python tests/backbones/golden/make_convnext.py

Made with torch 2.13.0, torchvision 0.29.2, timm 1.0.31, transformers 5.23.0.
"""

from pathlib import Path

import torch
from seeded import fold_names, write_golden
from torch_oracles import (
    load_published,
    load_state,
    published_shapes,
    run_case,
    state_shapes,
    timm,
    torchvision,
    transformers,
)

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DEPTHS, WIDTHS = (1, 1, 2, 1), (8, 16, 32, 64)  # of the test's own row
SIZES = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}


def channels_last(x):
    """Returns [n, D, H, W] as [n, H, W, D]."""
    return x.permute(0, 2, 3, 1)


def load_timm(model):
    """Returns the loader of a timm model."""

    def load(arrays):
        load_state(model.eval(), arrays)

        def run(images):
            x = model.stem(images)
            outputs = {"stem": channels_last(x)}
            for i, stage in enumerate(model.stages, start=1):
                x = stage(x)
                outputs[f"stage{i}"] = channels_last(x)
            x = model.norm_pre(x)
            outputs["pool"] = model.forward_head(x, pre_logits=True)
            outputs["logits"] = model(images)
            return outputs

        return run

    return load


def load_torchvision(model):
    """Returns the loader of a torchvision model."""

    def load(arrays):
        load_state(model.eval(), arrays)

        def run(images):
            x = model.features[0](images)
            outputs = {"stem": channels_last(x)}
            for i in range(1, 5):
                x = model.features[2 * i - 1](x)
                outputs[f"stage{i}"] = channels_last(x)
                x = model.features[2 * i](x) if i < 4 else x
            pooled = model.classifier[0](model.avgpool(x)).flatten(1)
            return {**outputs, "pool": pooled, "logits": model(images)}

        return run

    return load


def load_transformers(model):
    """Returns the loader of a transformers model."""

    def load(arrays):
        loaded = load_published(model, arrays)

        def run(images):
            trunk = getattr(loaded, "convnext", loaded)
            hidden = trunk(images, output_hidden_states=True)
            stem, *stages = hidden.hidden_states
            outputs = {"stem": channels_last(stem)}
            for i, x in enumerate(stages, start=1):
                outputs[f"stage{i}"] = channels_last(x)
            outputs["pool"] = hidden.pooler_output
            if trunk is not loaded:
                outputs["logits"] = loaded(images).logits
            return outputs

        return run

    return load


def make_transformers(kind, depths, widths, classes):
    """Returns a transformers model."""
    config = transformers.ConvNextConfig(
        depths=list(depths), hidden_sizes=list(widths), num_labels=classes
    )
    return getattr(transformers, kind)(config)


def make_torchvision(depths, widths, classes):
    """Returns a torchvision model, as its own functions make the large ones."""
    module = torchvision.models.convnext
    rows = zip(depths, widths, (*widths[1:], None), strict=True)
    settings = [module.CNBlockConfig(w, after, d) for d, w, after in rows]
    return module.ConvNeXt(settings, num_classes=classes)


def make_cases():
    """Returns the cases by name."""
    cases = {}
    model = timm.models.convnext.ConvNeXt(depths=DEPTHS, dims=WIDTHS, num_classes=7)
    runs = [("timm", state_shapes(model), load_timm(model))]
    model = make_torchvision(DEPTHS, WIDTHS, 7)
    runs.append(("torchvision", state_shapes(model), load_torchvision(model)))
    for kind in ("ConvNextForImageClassification", "ConvNextModel"):
        model = make_transformers(kind, DEPTHS, WIDTHS, 7)
        runs.append((kind, published_shapes(model), load_transformers(model)))
    for name, shapes, load in runs:
        cases[name] = run_case(
            shapes,
            load,
            size=75,  # of which the stem and a halving leave a rest
            colors=IMAGENET,
            small=0.03,
            facts={"row": "convnext_test"},
        )
    model = timm.create_model("convnext_tiny")
    cases["whole"] = run_case(
        state_shapes(model),
        load_timm(model),
        size=224,
        colors=IMAGENET,
        small=0.03,
        facts={"row": "convnext_tiny"},
    )
    return cases


def make_names():
    """Returns the names and shapes of the published variants."""
    names = {}
    for size, (depths, widths) in SIZES.items():
        with torch.device("meta"):
            theirs = timm.create_model(f"convnext_{size}")
            others = getattr(torchvision.models, f"convnext_{size}")()
        names[f"timm convnext_{size}"] = fold_names(state_shapes(theirs))
        names[f"torchvision convnext_{size}"] = fold_names(state_shapes(others))
        model = make_transformers(
            "ConvNextForImageClassification", depths, widths, 1000
        )
        names[f"transformers convnext_{size}"] = fold_names(published_shapes(model))
    return names


if __name__ == "__main__":
    write_golden(
        Path(__file__).with_name("convnext.json"),
        {"names": make_names(), "cases": make_cases()},
    )
