"""Builds the networks that the compaction survey removes units from, with random weights."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
import torchvision
from torch import nn

MILLIONS = 100
CLASSES = 13  # a number that no width of these networks has
# Draws a batch of so many samples.
Batches = Callable[[int, torch.Generator], Any]
Network = tuple[nn.Module, Batches]

TIMM = [
    "resnet10t", "resnext50_32x4d", "regnety_002", "efficientnet_b0", "convnext_atto",
    "convnextv2_atto", "densenet121", "mobilenetv3_small_050", "mobilenetv4_conv_small",
    "ghostnet_050", "hrnet_w18_small", "vit_tiny_patch16_224", "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224", "mixer_s32_224", "resmlp_12_224", "gmlp_s16_224",
    "res2net50_14w_8s", "resnest14d", "skresnet18", "dpn48b", "dla46_c", "coat_lite_tiny",
    "levit_128s", "pit_ti_224", "poolformer_s12", "repvgg_a0", "mobileone_s0", "nf_regnet_b0",
    "ecaresnet26t", "xcit_nano_12_p16_224", "cait_xxs24_224", "edgenext_xx_small", "mobilevit_xxs",
    "efficientformer_l1", "fastvit_t8", "tiny_vit_5m_224", "repvit_m0_9", "ese_vovnet19b_dw",
    "cspresnet50", "rexnet_100", "xception41", "efficientvit_b0", "resnetv2_50",
    "inception_next_atto",
]  # fmt: skip
ENCODERS = ("bert", "roberta", "electra", "albert", "distilbert", "deberta_v2", "mpnet", "vit")
# Sizes of pictures, where 64 is not the smallest that a network takes.
PIXELS = {"inception_v3": 96}
# MaxViT-T of windows of 2 x 2 instead of 7 x 7, which would need pictures of 224 x 224.
MAXVIT = {
    "input_size": (64, 64), "partition_size": 2, "stem_channels": 64, "head_dim": 32,
    "block_channels": [64, 128, 256, 512], "block_layers": [2, 2, 5, 2],
    "stochastic_depth_prob": 0.2, "num_classes": CLASSES,
}  # fmt: skip
FULL_SIZE = ("swin", "coat", "efficientformer")  # of timm: their stages need 224


def networks() -> dict[str, list[str]]:
    """Returns library -> names of its networks; libraries that are not installed are left out."""
    found = {"torchvision": list(_of_torchvision())}
    if find_spec("timm"):
        found["timm"] = TIMM
    if find_spec("transformers"):
        found["transformers"] = list(ENCODERS)
    return found


def build(library: str, name: str) -> Network:
    return {"torchvision": _torchvision, "timm": _timm, "transformers": _encoder}[library](name)


def _of_torchvision() -> Iterator[str]:
    """Yields all networks for classification up to the size, by their published parameters."""
    sizes = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        weights = torchvision.models.get_model_weights(name).DEFAULT
        sizes[name] = weights.meta["num_params"]
    small = [name for name, size in sizes.items() if size <= MILLIONS * 1e6]
    yield from sorted(small, key=lambda name: sizes[name])


def _torchvision(name: str) -> Network:
    if name == "maxvit_t":
        return torchvision.models.MaxVit(**MAXVIT), _pictures(64)
    more: dict[str, Any] = {}
    if name.startswith("vit"):
        more = {"image_size": 64}
    if name in ("inception_v3", "googlenet"):
        more = {"aux_logits": False, "init_weights": False}
    model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **more)
    return model, _pictures(PIXELS.get(name, 64))


def _timm(name: str) -> Network:
    import timm

    if not name.startswith(FULL_SIZE):
        try:
            model = timm.create_model(name, num_classes=CLASSES, img_size=64)
            return model, _pictures(64)
        except (TypeError, AssertionError):  # it has no size of its own, or needs another one
            pass
    model = timm.create_model(name, num_classes=CLASSES)
    full = name.startswith(FULL_SIZE) or hasattr(model, "patch_embed") or "levit" in name
    return model, _pictures(224 if full else 64)


def _encoder(name: str) -> Network:
    import transformers

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 96, "num_labels": CLASSES}
    if name == "vit":
        config = transformers.ViTConfig(image_size=32, patch_size=8, **sizes)
        pictures = _pictures(32)
        model = transformers.ViTForImageClassification(config)
        return model, lambda samples, draw: {"pixel_values": pictures(samples, draw)}
    sizes |= {"vocab_size": 100, "max_position_embeddings": 40}
    kinds = {
        "bert": lambda: transformers.BertConfig(**sizes),
        "roberta": lambda: transformers.RobertaConfig(**sizes),
        "electra": lambda: transformers.ElectraConfig(embedding_size=48, **sizes),
        "albert": lambda: transformers.AlbertConfig(embedding_size=48, **sizes),
        "distilbert": lambda: transformers.DistilBertConfig(
            **{"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96, "vocab_size": 100},
            **{"max_position_embeddings": 40, "num_labels": CLASSES},
        ),
        "deberta_v2": lambda: transformers.DebertaV2Config(
            **{"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
            **{"max_relative_positions": 20, "pooler_hidden_size": 64},
            **sizes,
        ),
        "mpnet": lambda: transformers.MPNetConfig(**sizes),
    }
    return transformers.AutoModelForSequenceClassification.from_config(kinds[name]()), _tokens


def _pictures(size: int) -> Batches:
    return lambda samples, draw: torch.randn(
        samples, 3, size, size, generator=draw, dtype=torch.float64
    )


def _tokens(samples: int, draw: torch.Generator) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 99, (samples, 16), generator=draw)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
