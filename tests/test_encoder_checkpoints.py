"""Public checkpoints: every key accounted for or the file is refused; the same numbers as the peers' own code."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.encoder import WeightsError, embed

torch = pytest.importorskip("torch", reason="torch is not installed: pip install tomoscribe[encoder]")
safetensors = pytest.importorskip("safetensors.torch")
tokenizers = pytest.importorskip("tokenizers")

from vlm.encoder import checkpoints  # noqa: E402
from vlm.encoder.merlin import MerlinNet, plain  # noqa: E402
from vlm.encoder.zeroshot import score  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

IMAGE = {"blocks": (1, 1, 1, 1), "width": 4}
TEXT = {"words": 12, "width": 24, "layers": 1, "heads": 2, "inner": 48, "places": 300}


def tiny() -> MerlinNet:
    torch.manual_seed(0)
    return MerlinNet(image=IMAGE, text=TEXT).eval()


@pytest.fixture
def small_merlin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkpoint of a tiny Merlin as published: a pickle, wrapped, with keys that nobody uses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kind = dataclasses.replace(checkpoints.KINDS["merlin"], net=lambda: MerlinNet(image=IMAGE, text=TEXT))
    monkeypatch.setitem(checkpoints.KINDS, "merlin", kind)
    state = {f"module.{name}": value for name, value in tiny().state_dict().items()}
    layer = "module.encode_text.text_encoder.encoder.layer.0.attention.self"
    state[f"{layer}.query_global.weight"] = torch.zeros(24, 24)
    state["module.encode_text.text_encoder.pooler.dense.weight"] = torch.zeros(24, 24)
    torch.save({"state_dict": state}, tmp_path / "merlin.pt")
    return tmp_path / "merlin.pt"


def with_tokenizer(folder: Path) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", "there", "is", "no", "nodule", ".", "lung", "effusion", "pleural"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    made.save(str(folder / "tokenizer.json"))


def test_a_file_says_what_it_is(small_merlin: Path) -> None:
    told = checkpoints.examine(small_merlin)
    assert (told.kind, told.format, told.fits) == ("merlin", "torch", True)
    assert told.renamed == told.tensors
    assert "MIT" in told.licence


@pytest.mark.parametrize("fault", ["missing", "unknown", "misshapen", "adapter", "other"])
def test_a_file_that_does_not_fit_is_refused(fault: str, small_merlin: Path) -> None:
    state: dict[str, Tensor] = {checkpoints.cleaned(k): v for k, v in torch.load(small_merlin)["state_dict"].items()}
    head = "encode_image.i3_resnet.contrastive_head.weight"
    if fault == "missing":
        del state[head]
    elif fault == "unknown":
        state["encode_image.i3_resnet.layer5.weight"] = torch.zeros(2)
    elif fault == "misshapen":
        state[head] = torch.zeros(7, 128, 1, 1, 1)
    elif fault == "adapter":
        state["encode_image.i3_resnet.layer4.0.conv1.lora_A.default.weight"] = torch.zeros(2)
    else:
        state = {"something.else": torch.zeros(3)}
    path = small_merlin.with_name("faulty.safetensors")
    safetensors.save_file(state, path)
    told = checkpoints.examine(path)
    assert not told.fits
    assert getattr(told, fault, None) or told.note
    with pytest.raises(WeightsError, match="cannot be used"):
        checkpoints.load_checkpoint(path)


class Bad:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_a_pickle_that_would_run_something_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": Bad()}, tmp_path / "bad.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bad()))
    (tmp_path / "noise.pt").write_bytes(b"\x00" * 100)
    (tmp_path / "noise.safetensors").write_bytes(b"\xff" * 100)
    for name in ("bad.pt", "plain.pt", "noise.pt", "noise.safetensors", "missing.pt"):
        with pytest.raises(WeightsError):
            checkpoints.examine(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_a_checkpoint_answers_in_images_and_words(small_merlin: Path) -> None:
    with_tokenizer(small_merlin.parent)
    encoder = checkpoints.load_checkpoint(small_merlin)
    assert list((small_merlin.parent / "cache").rglob("*.safetensors"))
    shape = (40, 40, 20)
    hu = np.asfortranarray(np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16))
    volume = Volume(hu, Grid(shape, np.diag([6.0, 6.0, 10.0, 1.0])), Scan(source="phantom"))
    made = embed(volume, encoder)
    shared = encoder.project(made.vector[None])
    assert shared.shape == (1, 512)
    assert np.linalg.norm(shared) == pytest.approx(1.0, abs=1e-4)
    assert encoder.text is not None
    said, denied = encoder.text.embed(["There is pleural effusion.", "There is no pleural effusion."])
    assert np.linalg.norm(said - denied) > 1e-3
    told = score(made, encoder, "pleural_effusion")
    assert -2 <= told.score <= 2
    again = checkpoints.load_checkpoint(small_merlin)
    assert np.allclose(embed(volume, again).vector, made.vector)


def test_padding_changes_no_text(small_merlin: Path) -> None:
    with_tokenizer(small_merlin.parent)
    text = checkpoints.load_checkpoint(small_merlin).text
    assert text is not None
    alone, beside = text.embed(["no nodule"])[0], text.embed(["no nodule", "there is no lung nodule . " * 5])[0]
    assert np.abs(alone - beside).max() < 1e-5


def test_a_tokenizer_of_another_model_is_refused(small_merlin: Path) -> None:
    (small_merlin.parent / "tokenizer.json").write_text(
        tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).to_str(), encoding="utf-8"
    )
    with pytest.raises(WeightsError, match="expected 12"):
        checkpoints.load_checkpoint(small_merlin)


def test_a_report_is_split_as_the_checkpoint_was_trained() -> None:
    assert plain("No 3.5-mm Nodule (left).") == "no 3 . 5 - mm nodule ( left )."


def test_the_image_tower_is_the_peers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("merlin")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the peer's code is not installed: pip install --no-deps merlin-vlm")
    root = Path(spec.submodule_search_locations[0])
    for name, folder in (("merlin", root), ("merlin.models", root / "models")):  # its own __init__ wants much more
        module = ModuleType(name)
        module.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("merlin.models.inflate", "merlin.models.i3res"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    i3res = importlib.import_module("merlin.models.i3res")
    monkeypatch.setitem(sys.modules, "merlin.models.inflate", sys.modules["merlin.models.inflate"])
    width = 4
    peer = i3res.I3ResNet(_flat_resnet(width), class_nb=1692, conv_class=False)
    for module in peer.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(std=0.1), module.running_var.uniform_(0.5, 2)
    peer.eval()
    ours = tiny().encode_image["i3_resnet"]
    state = {k: v for k, v in peer.state_dict().items() if not k.startswith("fc.")}
    state |= {k: v for k, v in ours.state_dict().items() if k.startswith(("classifier", "contrastive_head"))}
    ours.load_state_dict(state, strict=True)
    values = torch.rand(1, 1, 64, 64, 32)
    with torch.inference_mode():
        theirs: list[Tensor] = []
        peer.layer4.register_forward_hook(lambda _m, _i, out: theirs.append(out.clone()))
        peer.avgpool, peer.fc = torch.nn.AdaptiveAvgPool3d(1), torch.nn.Identity()
        peer(values)
        found = ours(values)["layer4"]
    assert torch.allclose(found, theirs[0], atol=1e-5)


def _flat_resnet(width: int) -> SimpleNamespace:
    """A ResNet of the plane with one bottleneck a stage, random, with the parts that the peer inflates."""
    nn = torch.nn
    torch.manual_seed(1)

    def stage(into: int, narrow: int, stride: int) -> Any:
        down = nn.Sequential(nn.Conv2d(into, narrow * 4, 1, stride, bias=False), nn.BatchNorm2d(narrow * 4))
        block = SimpleNamespace(
            conv1=nn.Conv2d(into, narrow, 1, bias=False), bn1=nn.BatchNorm2d(narrow),
            conv2=nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False), bn2=nn.BatchNorm2d(narrow),
            conv3=nn.Conv2d(narrow, narrow * 4, 1, bias=False), bn3=nn.BatchNorm2d(narrow * 4),
            downsample=down, stride=stride,
        )  # fmt: skip
        return [block]

    return SimpleNamespace(
        conv1=nn.Conv2d(3, width, 7, 2, 3, bias=False), bn1=nn.BatchNorm2d(width),
        maxpool=nn.MaxPool2d(3, 2, 1), avgpool=nn.AvgPool2d(7, 1), fc=nn.Linear(width * 32, 1000),
        layer1=stage(width, width, 1), layer2=stage(width * 4, width * 2, 2),
        layer3=stage(width * 8, width * 4, 2), layer4=stage(width * 16, width * 8, 2),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["Bert", "Longformer"])
def test_the_text_towers_are_the_librarys_own(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from vlm.encoder.bert import Bert

    sizes = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 48, "max_position_embeddings": 80}
    ours: dict[str, Any] = {"words": 50, "width": 24, "layers": 2, "heads": 2, "inner": 48, "places": 80}
    if name == "Longformer":
        sizes |= {"attention_window": 64, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
        ours |= {"segments": 1, "first_place": 2, "eps": 1e-5}
    torch.manual_seed(2)
    theirs = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes)).eval()
    net = Bert(**ours).eval()
    unused = checkpoints.KINDS["merlin"].unused
    state = {k: v for k, v in theirs.state_dict().items() if not unused.search(f"text_encoder.{k}")}
    net.load_state_dict(state, strict=True)
    ids = torch.tensor([[0, 7, 9, 11, 30, 2], [0, 8, 2, 1, 1, 1]])
    counts = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=counts.long()).last_hidden_state
        found = net(ids, counts)
    assert torch.allclose(found[counts], expected[counts], atol=1e-5)


SMALL_TOWER = {"width": 16, "patch": 4, "slab": 2, "depth": 1, "heads": 2, "head": 4, "codes": 8}
BODY_SCAN = (60, 44, 30)


def body_scan() -> Volume:
    hu = np.random.default_rng(3).integers(-1400, 1900, BODY_SCAN).astype(np.int16)
    return Volume(np.asfortranarray(hu), Grid(BODY_SCAN, np.diag([1.4, 1.4, 2.5, 1.0])), Scan(source="phantom"))


def test_ctclip_gets_a_scan_as_it_was_trained() -> None:
    from vlm.encoder import prepare
    from vlm.encoder.ctclip import RECIPE

    recipe = dataclasses.replace(RECIPE, shape=(96, 96, 60))
    volume = body_scan()
    stored = volume.hu[::-1, ::-1].astype(np.float32)  # along L, P, S, as in the training files
    values = torch.from_numpy(np.clip(stored, -1000, 1000).transpose(2, 0, 1).copy())[None, None]
    size = [
        int(n * step / want) for n, step, want in zip((30, 60, 44), (2.5, 1.4, 1.4), (1.5, 0.75, 0.75), strict=True)
    ]
    expected = torch.nn.functional.interpolate(values, size=size, mode="trilinear", align_corners=False)[0, 0] / 1000
    for axis, wanted in enumerate((60, 96, 96)):
        first = max((expected.shape[axis] - wanted) // 2, 0)
        expected = expected.narrow(axis, first, min(wanted, expected.shape[axis]))
    pads = [wanted - n for n, wanted in zip(expected.shape, (60, 96, 96), strict=True)]
    around = [part for pad in reversed(pads) for part in (pad // 2, pad - pad // 2)]
    expected = torch.nn.functional.pad(expected, around, value=-1)
    found = prepare(volume, recipe).values
    assert found.shape == (60, 96, 96)
    assert np.abs(found - expected.numpy()).max() < 1e-4  # of noise between -1 and 1, in float32


def test_hounsfield_units_are_scaled_once_whoever_wrote_the_file(tmp_path: Path) -> None:
    # The published scripts apply slope and intercept to what the reader has scaled: everything is 1024 HU too low.
    import nibabel

    from vlm.ct.read import read
    from vlm.encoder import prepare
    from vlm.encoder.ctclip import RECIPE

    recipe = dataclasses.replace(RECIPE, shape=(48, 48, 40))
    hu = np.full((40, 40, 30), -1000, np.int16)
    hu[8:32, 8:32] = 40
    inputs = []
    for name, stored, intercept in (("plain", hu, 0.0), ("stored", hu + 1024, -1024.0)):
        image = nibabel.Nifti1Image(stored.astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0]))
        image.header.set_slope_inter(1.0, intercept)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
        inputs.append(prepare(read(tmp_path / f"{name}.nii.gz").volume, recipe).values)
    assert np.array_equal(*inputs)
    twice = np.clip((inputs[0] * 1000 - 1024) / 1000, -1, 1)
    assert np.abs(twice - inputs[1]).max() > 0.5


def test_a_ctclip_checkpoint_is_told_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlm.encoder import prepare
    from vlm.encoder.ctclip import CTCLIP, RECIPE, CTCLIPNet

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(CTCLIP, "recipe", dataclasses.replace(RECIPE, shape=(16, 16, 8)))

    def small() -> CTCLIPNet:
        return CTCLIPNet(image=SMALL_TOWER, text={**TEXT}, cells=16)

    monkeypatch.setitem(checkpoints.KINDS, "ctclip", dataclasses.replace(checkpoints.KINDS["ctclip"], net=small))
    torch.manual_seed(5)
    net = small()
    net.visual_transformer.vq["_codebook"].embed.normal_()
    state = dict(net.state_dict())
    state["visual_transformer.dec_spatial_transformer.norm_out.gamma"] = torch.zeros(3)
    state["visual_transformer.vq._codebook.cluster_size"] = torch.zeros(1, 8)
    torch.save(state, tmp_path / "CT-CLIP.pt")
    told = checkpoints.examine(tmp_path / "CT-CLIP.pt")
    assert (told.kind, told.fits) == ("ctclip", True)
    assert "not for commercial use" in told.licence
    with_tokenizer(tmp_path)
    encoder = checkpoints.load_checkpoint(tmp_path / "CT-CLIP.pt")
    made = embed(body_scan(), encoder)
    assert made.vector.shape == (512,)
    assert encoder.text is not None
    assert np.abs(np.linalg.norm(encoder.text.embed(["lung nodule ."]), axis=1) - 1).max() < 1e-5
    tokens = encoder.features(prepare(body_scan(), encoder.recipe)).values
    assert tokens.shape == (16, 4, 4, 4)
    entries = net.visual_transformer.vq["_codebook"].embed[0].numpy()
    apart = np.abs(tokens.reshape(16, -1).T[:, None] - entries[None]).max(axis=2)
    assert apart.min(axis=1).max() < 1e-5  # every token is an entry of the codebook


def test_ct_fm_is_loaded_by_its_own_names_and_needs_no_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vlm.encoder.ctfm import CTFMNet

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kind = checkpoints.KINDS["ctfm"]
    small = dataclasses.replace(kind, net=lambda: CTFMNet(width=2))
    monkeypatch.setitem(checkpoints.KINDS, "ctfm", small)
    net = CTFMNet(width=2).eval()
    safetensors.save_file(net.state_dict(), tmp_path / "ctfm.safetensors")
    encoder = checkpoints.load_checkpoint(tmp_path / "ctfm.safetensors")
    assert (encoder.text, encoder.identity.encoder) == (None, "ctfm")
    del net.conv_init
    safetensors.save_file(net.state_dict(), tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="cannot be used"):
        checkpoints.load_checkpoint(tmp_path / "cut.safetensors")


def test_ct_fm_gives_the_numbers_of_monai() -> None:
    nets = pytest.importorskip("monai.networks.nets.segresnet_ds", reason="monai is not installed")
    from vlm.encoder.ctfm import CTFMNet

    torch.manual_seed(0)
    theirs = nets.SegResEncoder(init_filters=2, blocks_down=(1, 2, 2, 4, 4)).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    ours = CTFMNet(width=2).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    values = torch.rand(1, 1, 32, 48, 32)
    with torch.inference_mode():
        assert torch.allclose(ours(values), theirs(values)[-1], atol=1e-5)


def test_a_map_of_turned_axes_lies_where_the_scan_says() -> None:
    from vlm.encoder.ctfm import RECIPE, along_ras
    from vlm.encoder.recipe import AXES, prepare

    rng = np.random.default_rng(0)
    recipe = dataclasses.replace(RECIPE, shape=(48, 32, 64))
    hu = np.asfortranarray(rng.integers(-900, 900, (40, 30, 50)).astype(np.int16))
    prepared = prepare(Volume(hu, Grid((40, 30, 50), np.diag([1.5, 1.5, 3.0, 1])), Scan(source="phantom")), recipe)
    turned = prepared.values[tuple(slice(None, None, AXES[letter][1]) for letter in "SPL")].transpose(2, 1, 0)
    values, stride, _, offset = along_ras(prepared.values[None, ::16, ::16, ::16], prepared)
    for cell in np.ndindex(*values.shape[1:]):
        at = tuple(int(o + c * s) for o, c, s in zip(offset, cell, stride, strict=True))
        assert values[(0, *cell)] == turned[at]


SMALL_COLIPRI = {"width": 48, "depth": 2, "heads": 2, "patch": 4, "pool_heads": 2, "shared": 24}
SMALL_M3D = {"width": 24, "depth": 2, "heads": 2, "inner": 48, "patch": (2, 4, 4), "size": (8, 16, 16)}


def drawn_at_random(net: Any) -> Any:
    """Every weight and bias random, so that a part that is left out shows."""
    torch.manual_seed(7)
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.normal_(std=0.3)
    return net.eval()


@pytest.mark.parametrize("name", ["colipri", "m3dclip"])
def test_a_checkpoint_with_a_pooling_of_its_own_answers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"vlm.encoder.{name}")
    encoder_of, net_of = getattr(module, name.upper()), getattr(module, f"{name.upper()}Net")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shape, image = {"colipri": ((24, 24, 24), SMALL_COLIPRI), "m3dclip": ((16, 16, 8), SMALL_M3D)}[name]
    monkeypatch.setattr(encoder_of, "recipe", dataclasses.replace(module.RECIPE, shape=shape))
    kind = dataclasses.replace(checkpoints.KINDS[name], net=lambda: net_of(image=image, text=TEXT))
    monkeypatch.setitem(checkpoints.KINDS, name, kind)
    state = {f"model.{key}": value for key, value in drawn_at_random(kind.net()).state_dict().items()}
    tower = {"colipri": "text_encoder.backbone", "m3dclip": "language_encoder"}[name]
    state[f"model.{tower}.pooler.dense.weight"] = torch.zeros(24, 24)  # of the library, asked by nobody
    torch.save(state, tmp_path / "checkpoint.pt")
    told = checkpoints.examine(tmp_path / "checkpoint.pt")
    assert (told.kind, told.fits, told.renamed) == (name, True, told.tensors)
    assert "MIT" in told.licence
    with_tokenizer(tmp_path)
    encoder = checkpoints.load_checkpoint(tmp_path / "checkpoint.pt")
    lung = Mask("lung", np.ones(BODY_SCAN, dtype=bool), body_scan().grid)
    made = embed(body_scan(), encoder, [lung])
    assert np.linalg.norm(made.vector) == pytest.approx(1.0, abs=1e-2)
    assert list(made.organs) == (["lung"] if name == "colipri" else [])  # patches of the other are not among words
    assert encoder.text is not None
    said = encoder.text.embed(["There is pleural effusion.", "no nodule"])
    assert np.abs(np.linalg.norm(said, axis=1) - 1).max() < 1e-5
    assert -2 <= score(made, encoder, "pleural_effusion").score <= 2
    del state["model.softmax_temperature" if name == "colipri" else "model.logit_scale"]
    torch.save(state, tmp_path / "cut.pt")
    with pytest.raises(WeightsError, match=r"1 keys missing, first (softmax|logit)"):
        checkpoints.load_checkpoint(tmp_path / "cut.pt")


def test_colipri_gives_the_numbers_of_its_own_parts() -> None:
    primus = pytest.importorskip(
        "dynamic_network_architectures.architectures.primus", reason="dynamic-network-architectures is not installed"
    )
    pooling = pytest.importorskip("colipri.pooling", reason="colipri is not installed: pip install --no-deps colipri")
    from vlm.encoder.colipri import COLIPRINet

    sizes = {**SMALL_COLIPRI, "width": 72 * 2}
    tower = primus.Primus(
        input_channels=1, num_classes=1, eva_depth=2, eva_numheads=2, embed_dim=144, patch_embed_size=(4, 4, 4),
        input_shape=(16, 12, 8), use_rot_pos_emb=True, use_abs_pos_embed=False, drop_path_rate=0.2, init_values=0.1,
        scale_attn_inner=True, num_register_tokens=0,
    )  # fmt: skip
    tower.up_projection = torch.nn.Identity()
    drawn_at_random(tower), drawn_at_random(pool := pooling.AttentionPool1D(24, 2))
    ours = drawn_at_random(COLIPRINet(image=sizes, text=TEXT))
    unused = checkpoints.KINDS["colipri"].unused
    theirs = {f"image_encoder.backbone.{key}": value for key, value in tower.state_dict().items()}
    theirs |= {f"{side}_encoder.pooler.{k}": v for side in ("image", "text") for k, v in pool.state_dict().items()}
    theirs = {key: value for key, value in theirs.items() if not unused.search(key)}
    rest = {key: value for key, value in ours.state_dict().items() if key not in theirs}
    assert not [key for key in rest if "backbone.eva" in key or "pooler" in key]
    ours.load_state_dict({**theirs, **rest}, strict=True)
    values, dense = torch.rand(1, 1, 16, 12, 8), pool.to_dense()
    with torch.inference_mode():
        cells = ours.image_encoder.projector(tower(values))
        whole, each = ours.image(values)
        expected = torch.nn.functional.normalize(pool(cells.flatten(2).transpose(1, 2)), dim=-1)
        assert torch.allclose(whole, expected, atol=1e-5)
        assert torch.allclose(each, dense(cells), atol=1e-4)
        tokens, counts = torch.rand(2, 5, 24), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
        assert torch.allclose(
            ours.text_encoder["pooler"](tokens, counts.bool()), pool(tokens, attention_mask=counts), atol=1e-6
        )


def test_colipri_gets_a_scan_as_its_processor_gives_it() -> None:
    torchio = pytest.importorskip("torchio", reason="torchio is not installed")
    from vlm.encoder import prepare
    from vlm.encoder.colipri import RECIPE

    volume = body_scan()
    image = torchio.ScalarImage(tensor=torch.from_numpy(volume.hu[None].astype(np.float32)), affine=volume.grid.affine)
    for shape in ((32, 32, 32), (49, 25, 48)):  # cut and padded, with an odd rest and without
        steps = torchio.Compose([
            torchio.ToOrientation("RAS"), torchio.Resample(2, image_interpolation="linear"),
            torchio.Clamp(-1000, 1000), torchio.RescaleIntensity((-1, 1), in_min_max=(-1000, 1000)),
            torchio.CropOrPad(shape, padding_mode="minimum"),
        ])  # fmt: skip
        found = prepare(volume, dataclasses.replace(RECIPE, shape=shape)).values
        assert np.abs(found - steps(image).numpy()[0]).max() < 1e-3


def test_m3d_clip_gives_the_numbers_of_monai() -> None:
    nets = pytest.importorskip("monai.networks.nets.vit", reason="monai is not installed")
    from vlm.encoder.m3dclip import M3DCLIPNet

    theirs = drawn_at_random(
        nets.ViT(
            in_channels=1, img_size=(8, 16, 16), patch_size=(2, 4, 4), hidden_size=24, mlp_dim=48, num_layers=2,
            num_heads=2, proj_type="perceptron", pos_embed_type="learnable", classification=True,
        )
    )  # fmt: skip
    ours = drawn_at_random(M3DCLIPNet(image=SMALL_M3D, text=TEXT))
    unused = checkpoints.KINDS["m3dclip"].unused
    ours.vision_encoder.load_state_dict(
        {key: value for key, value in theirs.state_dict().items() if not unused.search(key)}, strict=True
    )
    theirs.classification_head = torch.nn.Identity()
    values = torch.rand(1, 1, 8, 16, 16)
    with torch.inference_mode():
        first = theirs(values)[0]
        tokens = ours.vision_encoder(values)
    assert torch.allclose(tokens[:, 0], first.reshape(1, -1), atol=1e-4)
