from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pytest_mad.architectures.backbones import AutoEncoder, Decoder, LanguageModel, sincos_table
from pytest_mad.layers import build_layer

torch.set_num_threads(1)

DIM, VOCAB, LENGTH = 16, 11, 12


def stack(*names: str, max_length: int = LENGTH) -> list[nn.Module]:
    return [build_layer(name, dim=DIM, max_length=max_length) for name in names or ("mh-attention", "swiglu")]


def language_model(**config: object) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(stack(), dim=DIM, vocab_size=VOCAB, max_length=LENGTH, **config)


def auto_encoder(layers: list[nn.Module] | None = None, **config: object) -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(layers or stack(), dim=DIM, vocab_size=VOCAB, max_length=LENGTH, **config)


def random_tokens(batch: int = 3, length: int = LENGTH) -> Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))


class Special(nn.Module):
    """A layer whose linear map must start where it was put, as Hedgehog's or Mamba's."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM, DIM)
        nn.init.eye_(self.linear.weight)
        nn.init.constant_(self.linear.bias, 5.0)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.linear(x_BTD)

    def is_untouched(self) -> bool:
        return bool((self.linear.weight == torch.eye(DIM)).all() and (self.linear.bias == 5).all())


@pytest.mark.parametrize("build", [language_model, auto_encoder])
@pytest.mark.parametrize("length", [1, 5, LENGTH])
def test_logits_for_every_token(build: type[nn.Module], length: int) -> None:
    model = build()
    assert model(random_tokens(3, length)).shape == (3, length, VOCAB)
    assert model.encode(random_tokens(3, length)).shape == (3, DIM)
    assert model.vocab_size == VOCAB


@pytest.mark.parametrize("build", [language_model, auto_encoder])
def test_too_long_an_input_says_so(build: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=f"^the input has 13 tokens, the model was built with max_length={LENGTH}$"):
        build()(random_tokens(1, LENGTH + 1))


def test_language_model_is_a_residual_stack() -> None:
    model, tokens = language_model(), random_tokens()
    x = model.trunk.token_embeds.weight[tokens]
    for norm, layer in zip(model.trunk.norms, model.trunk.layers, strict=True):
        x = x + layer(norm(x))
    x = model.norm(x)
    torch.testing.assert_close(model(tokens), x @ model.head.weight.T + model.head.bias)
    torch.testing.assert_close(model.encode(tokens), x[:, -1])
    torch.testing.assert_close(model.hidden(tokens), x)


def test_language_model_initialisation() -> None:
    model = LanguageModel(stack(), dim=DIM, vocab_size=1000, max_length=LENGTH)
    assert model.trunk.token_embeds.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (model.head.bias == 0).all()
    assert model.head.weight.abs().max() <= 1 / math.sqrt(DIM)  # PyTorch's own
    assert model.head.weight is not model.trunk.token_embeds.weight


@pytest.mark.parametrize("build", [language_model, auto_encoder])
def test_token_embeddings_are_drawn_at_the_scale_that_is_asked_for(build: Callable[..., nn.Module]) -> None:
    """And everything else as without it."""
    default, wide = build().state_dict(), build(embedding_std=0.2).state_dict()
    torch.testing.assert_close(wide.pop("trunk.token_embeds.weight"), 10 * default.pop("trunk.token_embeds.weight"))
    assert all(torch.equal(wide[name], weight) for name, weight in default.items())


def test_decoder_initialisation() -> None:
    decoder = Decoder(128, 64, LENGTH)
    linears = [module for module in decoder.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == 3
    assert all(linear.weight.std().item() == pytest.approx(0.02, rel=0.05) for linear in linears)
    assert all((linear.bias == 0).all() for linear in linears)


def test_special_initialisation_survives_except_in_compat() -> None:
    kept, encoded, redrawn = Special(), Special(), Special()
    LanguageModel([kept], dim=DIM, vocab_size=VOCAB, max_length=LENGTH)
    auto_encoder([encoded])
    auto_encoder([redrawn], compat=True)
    assert kept.is_untouched()
    assert encoded.is_untouched()
    assert (redrawn.linear.bias == 0).all()
    assert redrawn.linear.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_decoder_table() -> None:
    """First half sines, second half cosines, frequencies 10000^(-i / (D/2 - 1)): from 1 down to 1/10000."""
    table = sincos_table(7, 8)
    for t in range(7):
        angles = [t * 10_000 ** (-i / 3) for i in range(4)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert table[t].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dim", [2, 7])
def test_decoder_needs_an_even_width(dim: int) -> None:
    with pytest.raises(ValueError, match=f"dim must be even and at least 4, not {dim}"):
        Decoder(dim, VOCAB, LENGTH)


def test_decoder_stands_on_its_own() -> None:
    decoder, pooled = Decoder(DIM, VOCAB, LENGTH), torch.randn(3, DIM)
    logits = decoder(pooled)
    assert logits.shape == (3, LENGTH, VOCAB)
    torch.testing.assert_close(decoder(pooled, 5), logits[:, :5])
    x = decoder.mlp(pooled[1] + sincos_table(LENGTH, DIM)[4])  # each position on its own
    torch.testing.assert_close(decoder.head(decoder.norm(x)), logits[1, 4])


def test_tables_are_no_part_of_the_state() -> None:
    assert not [key for key in auto_encoder().state_dict() if "positions" in key]
    assert not [key for key in language_model().state_dict() if "positions" in key]


def test_auto_encoder_sees_the_tokens_through_the_pooled_vector_only() -> None:
    model, tokens = auto_encoder(), random_tokens()
    pooled = model.encode(tokens)
    torch.testing.assert_close(model(tokens), model.decoder(pooled))
    model.encode = lambda tokens_BT: pooled  # type: ignore[method-assign]
    assert torch.equal(model(tokens), model(tokens.flip(1)))


def test_every_logit_depends_on_every_token() -> None:
    model, tokens = auto_encoder(), random_tokens(1)
    embedded = model.trunk.embed(tokens).detach().requires_grad_()
    logits = model.decoder(model.trunk.mix(embedded)[:, -1])
    (gradient,) = torch.autograd.grad(logits[0, 0].square().sum(), embedded)
    assert (gradient[0].abs().sum(-1) > 0).all()


def test_pooling() -> None:
    tokens = random_tokens()
    last, average = auto_encoder(), auto_encoder(pooling="avg")
    torch.testing.assert_close(last.encode(tokens), last.trunk(tokens)[:, -1])
    torch.testing.assert_close(average.encode(tokens), average.trunk(tokens).mean(1))
    with pytest.raises(ValueError, match="pooling must be one of last, avg, cls, not 'mean'"):
        auto_encoder(pooling="mean")


def test_cls_pooling_appends_a_learned_vector() -> None:
    model, tokens = auto_encoder(stack(max_length=LENGTH + 1), pooling="cls"), random_tokens()
    appended = torch.cat([model.trunk.embed(tokens), model.cls_D.expand(3, 1, DIM)], 1)
    torch.testing.assert_close(model.encode(tokens), model.trunk.mix(appended)[:, -1])
    model(tokens).sum().backward()
    assert model.cls_D.grad.abs().sum() > 0


@pytest.mark.parametrize("build", [language_model, auto_encoder])
def test_position_embeddings(build: type[nn.Module]) -> None:
    tokens = random_tokens(3, 5)
    learned, fixed = build(position_embeds=nn.Embedding), build(position_embeds=sincos_table)
    assert learned.trunk.positions_TD in set(learned.parameters())
    assert "trunk.positions_TD" in fixed.state_dict()
    assert "trunk.positions_TD" not in dict(fixed.named_parameters())
    expected = fixed.trunk.token_embeds(tokens) + sincos_table(LENGTH, DIM)[:5]
    torch.testing.assert_close(fixed.trunk.embed(tokens), expected)
    with pytest.raises(ValueError, match=r"position_embeds must give shape \(12, 16\), not \(13, 16\)"):
        build(position_embeds=lambda length, dim: torch.zeros(length + 1, dim))


@pytest.mark.parametrize("build", [language_model, auto_encoder])
def test_dropout_and_norm_are_arguments(build: type[nn.Module]) -> None:
    model, tokens = build(dropout=0.5, norm=nn.LayerNorm), random_tokens()
    assert not torch.equal(model(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), model(tokens))
    assert sum(isinstance(module, nn.LayerNorm) for module in model.modules()) in (3, 5)


@pytest.mark.parametrize("build", [language_model, auto_encoder])
def test_same_seed_same_model(build: type[nn.Module]) -> None:
    assert torch.equal(build()(random_tokens()), build()(random_tokens()))


def test_language_model_learns_to_recall() -> None:
    """The sequence ends in a key that came before; the answer is the value behind it."""
    torch.manual_seed(0)
    model = LanguageModel(stack("attention", "swiglu") * 2, dim=DIM, vocab_size=VOCAB, max_length=LENGTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        x = torch.randint(VOCAB, (64, 3))
        tokens = torch.cat([x, x], 1)[:, :-1]
        loss = nn.functional.cross_entropy(model(tokens)[:, 3:].flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize("position_embeds", [None, nn.Embedding, sincos_table])
def test_token_by_token_gives_the_same_logits(position_embeds: object) -> None:
    torch.manual_seed(0)
    layers = stack("mamba", "rwkv5-channel-mixer", "mh-attention", "moe-mlp")
    model = LanguageModel(layers, dim=DIM, vocab_size=VOCAB, max_length=LENGTH, position_embeds=position_embeds)
    model, tokens = model.double().eval(), random_tokens()
    states, logits = model.init_state(3), []
    for tokens_B in tokens.unbind(1):
        logits_BV, states = model.step(tokens_B, states)
        logits.append(logits_BV)
    torch.testing.assert_close(torch.stack(logits, 1), model(tokens), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("backbone", [LanguageModel, AutoEncoder])
@pytest.mark.parametrize(
    ("names", "size"),
    [
        (("mamba", "swiglu", "retnet", "rwkv5-channel-mixer"), (32 * 4 + 32 * 3) + 16 * 16 + 16),
        (("swiglu", "mlp"), 0),
        (("mamba", "swiglu", "mh-attention", "swiglu"), None),
    ],
)
def test_state_size_is_the_sum_over_layers(backbone: type[nn.Module], names: tuple[str, ...], size: int | None) -> None:
    assert backbone(stack(*names), dim=DIM, vocab_size=VOCAB, max_length=LENGTH).state_size() == size


def test_a_token_beyond_the_longest_input_is_an_error_as_in_one_pass() -> None:
    model = LanguageModel(stack("mamba"), dim=DIM, vocab_size=VOCAB, max_length=2)
    states = model.init_state(1)
    for _ in range(2):
        _, states = model.step(torch.zeros(1, dtype=torch.int64), states)
    with pytest.raises(ValueError, match="this is token 3, the model was built with max_length=2"):
        model.step(torch.zeros(1, dtype=torch.int64), states)


def test_a_layer_that_is_no_mixer_trains_but_has_no_step() -> None:
    model = LanguageModel([Special(), *stack("swiglu")], dim=DIM, vocab_size=VOCAB, max_length=LENGTH)
    assert model(random_tokens()).shape == (3, LENGTH, VOCAB)
    assert model.state_size() is None
    with pytest.raises(TypeError, match="Special runs over whole sequences only"):
        model.init_state(1)
