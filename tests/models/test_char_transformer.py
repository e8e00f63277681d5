"""The character transformer: what it computes, and what of it can be pruned."""

import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from torch import Tensor, nn

from harness.metrics.macs import count_macs, macs
from harness.models.char_transformer import Attention, Block, CharTransformer
from harness.structure.neuron import Neuron
from harness.task.language_modelling import LanguageModelling
from harness.vocabulary.tensors import prunable_layers, prunable_weights

CONTEXT, CLASSES = 5, 7
SMALL = CharTransformer(width=8, heads=2, depth=3, mlp=2)


def built(model: CharTransformer = SMALL, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return model.build((CONTEXT,), CLASSES)


def ids(*rows: list[int]) -> Tensor:
    return torch.tensor(rows or [[0, 1, 2, 3, 4], [6, 5, 4, 3, 2]]).float()


def test_parameters_and_macs_follow_from_the_widths() -> None:
    model = built()
    weights = prunable_weights(model)
    # 3 blocks of 4 8x8 and two 16x8, and 7x8.
    assert sum(weight.numel() for weight in weights.values()) == 3 * (4 * 64 + 2 * 128) + 56 == 1592
    # Embeddings 7x8 and 5x8; per block biases 4x8 + 16 + 8 and two norms of 2x8; the end.
    others = 56 + 40 + 3 * (32 + 24 + 32) + 16 + 7
    assert sum(parameter.numel() for parameter in model.parameters()) == 1592 + others
    # In 3 blocks q k^T and attention x v: 5 x 5 positions of width 8 each.
    assert macs(model, (CONTEXT,), whole=True) == 5 * 1592 + 3 * 2 * 25 * 8


def test_layers_have_sensible_names_in_the_order_of_the_forward_pass() -> None:
    block = [
        "attention.query", "attention.key", "attention.value", "attention.output", "fc1", "fc2",
    ]  # fmt: skip
    names = [f"blocks.{number}.{part}.weight" for number in range(3) for part in block]
    assert list(prunable_weights(built())) == [*names, "classifier.weight"]


def test_every_prunable_layer_is_called_once_on_all_positions() -> None:
    counted = count_macs(built(), torch.zeros(1, CONTEXT)).weights
    weights = prunable_weights(built())
    assert counted == {name: CONTEXT * weight.numel() for name, weight in weights.items()}


def test_an_output_depends_on_its_own_and_earlier_inputs_only() -> None:
    model = built().eval()
    before = model(ids([0, 1, 2, 3, 4]))
    for place in range(CONTEXT):
        changed = [0, 1, 2, 3, 4]
        changed[place] = 6
        after = model(ids(changed))
        differs = (after != before).any(dim=2)[0].tolist()
        assert differs == [number >= place for number in range(CONTEXT)]


def test_attention_of_equal_keys_is_the_mean_of_what_came_before() -> None:
    layer = Attention(width=2, heads=2, dropout=0.0)
    for part in (layer.query, layer.key, layer.value, layer.output):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    for part in (layer.value, layer.output):
        nn.init.eye_(part.weight)
    x = torch.tensor([[[3.0, 1.0], [9.0, 2.0], [6.0, 6.0]]])
    # 3, (3 + 9) / 2, (3 + 9 + 6) / 3; 1, 3 / 2, 9 / 3
    torch.testing.assert_close(layer(x), torch.tensor([[[3.0, 1.0], [6.0, 1.5], [6.0, 3.0]]]))


def test_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    layer = Attention(width=12, heads=3, dropout=0.0)
    x = torch.randn(2, 5, 12)

    def heads(part: nn.Linear) -> Tensor:
        return torch.stack(part(x).split(4, dim=2), dim=1)

    q, k, v = heads(layer.query), heads(layer.key), heads(layer.value)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    wanted = layer.output(torch.cat(mixed.unbind(1), dim=2))
    torch.testing.assert_close(layer(x), wanted)


def test_a_block_is_torchs_encoder_layer_with_pre_norm_and_a_causal_mask() -> None:
    torch.manual_seed(0)
    block = Block(width=8, heads=2, hidden=24, dropout=0.0)
    peer = nn.TransformerEncoderLayer(
        8, 2, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    mine = block.state_dict()

    def joined(kind: str) -> Tensor:
        return torch.cat([mine[f"attention.{part}.{kind}"] for part in ("query", "key", "value")])

    renamed = {"attention.output": "self_attn.out_proj", "fc1": "linear1", "fc2": "linear2"}
    state = {
        f"{renamed.get(name, name)}.{kind}": mine[f"{name}.{kind}"]
        for name in (*renamed, "norm1", "norm2")
        for kind in ("weight", "bias")
    }
    state |= {f"self_attn.in_proj_{kind}": joined(kind) for kind in ("weight", "bias")}
    peer.load_state_dict(state)
    x = torch.randn(2, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(block(x), peer(x, src_mask=mask, is_causal=True))


def test_equal_tokens_at_other_positions_answer_otherwise() -> None:
    outputs = built().eval()(ids([3, 3, 3, 3, 3]))
    assert not torch.allclose(outputs[0, 0], outputs[0, 1])


def test_fewer_positions_than_the_context_are_taken_and_more_are_not() -> None:
    model = built().eval()
    torch.testing.assert_close(model(ids())[:, :2], model(ids()[:, :2]))
    with pytest.raises(ValueError, match="at most 5 positions, got 6"):
        model(ids([0, 1, 2, 3, 4, 5]))


@cases("wrong", -1, 7)
def test_an_input_that_is_no_id_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="takes ids from 0 to 6, got .*; use data=topics"):
        built()(ids([0, 1, 2, 3, wrong]))


@cases("dtype", torch.float32, torch.float64)
def test_it_answers_a_number_per_position_and_class_in_its_own_dtype(dtype) -> None:
    outputs = built().to(dtype)(ids().to(dtype))
    assert (outputs.shape, outputs.dtype) == ((2, CONTEXT, CLASSES), dtype)


def test_it_has_second_derivatives() -> None:
    model = built()
    labels = torch.zeros(2, CONTEXT, dtype=torch.int64)
    weights = [model.get_parameter(name) for name in prunable_layers(model)]
    loss = LanguageModelling().loss(model(ids()), labels)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    again = torch.autograd.grad(sum(g.square().sum() for g in gradients), weights)
    assert all(bool(g.any()) for g in again)


def test_neurons_are_those_of_the_inner_layers_and_the_heads() -> None:
    units = Neuron().units(built(), ids())
    ones = {name: torch.ones_like(weight) for name, weight in prunable_weights(built()).items()}
    found = {name: len(each.pool(ones)) for name, each in units.items()}
    one = {"attention.query.weight": 2, "fc1.weight": 2 * 8}
    assert found == {f"blocks.{i}.{name}": count for i in range(3) for name, count in one.items()}


def test_a_norm_over_the_width_leaves_it_whole() -> None:
    class Looking(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs.long())

    model = Looking(nn.Embedding(7, 3), nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    said = r"of 1: 2 takes statistics over the units \(structure.norms=living lets them go\); use"
    with pytest.raises(ValueError, match=said):
        Neuron().units(model, ids())
    assert list(Neuron(norms="living").units(model, ids())) == ["1.weight"]


def test_dropout_acts_in_training_only() -> None:
    model = built(CharTransformer(width=8, heads=2, depth=1, dropout=0.5))
    # Of embeddings, of attention and of what the block adds.
    assert [part.p for part in model.modules() if isinstance(part, nn.Dropout)] == [0.5] * 3
    assert not torch.equal(model(ids()), model(ids()))
    model.eval()
    assert torch.equal(model(ids()), model(ids()))
    assert torch.equal(model(ids()), built(CharTransformer(width=8, heads=2, depth=1))(ids()))


def test_the_seed_of_the_global_stream_decides_the_weights() -> None:
    one, same, other = (built(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
    assert not torch.equal(one["embedding.tokens.weight"], other["embedding.tokens.weight"])


def test_it_learns_what_follows_what() -> None:
    model = built()
    text = torch.tensor([[0, 1, 2, 0, 1, 2], [1, 2, 0, 1, 2, 0]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = LanguageModelling().loss(model(text[:, :-1].float()), text[:, 1:]) / len(text)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1  # from ln 7 = 1.9


@cases(
    "fields, says",
    ({"width": 30}, "heads=4, which do not divide it; write width=28 or width=32"),
    ({"width": 2}, "heads=4, which do not divide it; write width=4 or width=4"),
    ({"depth": 0}, r"depth must be a whole number in \[1, 1000\], got 0"),
    ({"mlp": 2.5}, "mlp must be a whole number .*, got 2.5"),
    ({"heads": True}, "heads must be a whole number .*, got True"),
    ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\), got 1.0; 0 turns it off"),
    ({"dropout": float("nan")}, r"dropout must be .* in \[0, 1\), got nan"),
)
def test_fields_that_make_no_sense_are_refused(fields, says) -> None:
    with pytest.raises(ValueError, match=says):
        CharTransformer(**fields)


@cases("shape", (1, 28, 28), (5, 3))
def test_images_are_refused_with_a_way_out(shape) -> None:
    with pytest.raises(ValueError, match=r"shape \(context,\), got .* data=topics, or model=lenet"):
        SMALL.build(shape, 10)
    with pytest.raises(ValueError, match="classes must be at least 1, got 0"):
        SMALL.build((5,), 0)
