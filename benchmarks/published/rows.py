"""The rows of the table: architectures, with what a theorem says of their constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import nn

from benchmarks.published import attention, libraries, mobile, one_lipschitz, other_outputs, patches, plain, residual
from tests.lipschitz.families import AOLDense, BRODense, CPLConv, CPLDense, Sandwich, SLLConv, SLLDense

PHOTO, DIGIT = (3, 32, 32), (1, 28, 28)


class Row(NamedTuple):
    """One architecture.

    Fields:
        name: in the table.
        source: paper or library.
        make: a new module with random weights.
        shape: of one input.
        constant: the Lipschitz constant that is proven on paper; None where there is none.
    """

    name: str
    source: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = PHOTO
    constant: float | None = None


def one(name: str, source: str, make: Callable[[], nn.Module]) -> Row:
    """Of constant 1."""
    return Row(name, source, make, constant=1.0)


def convolutional(*block: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Eight times these layers."""
    return lambda: one_lipschitz.network(lambda: [make() for make in block])


def _one_lipschitz() -> Iterator[Row]:
    channels, side, minmax = one_lipschitz.CHANNELS, one_lipschitz.SIDE, one_lipschitz.MaxMin
    dense = one_lipschitz.dense
    yield one("SLL, convolutions", "Araujo et al. 2023", convolutional(lambda: SLLConv(channels, channels)))
    yield one("SLL, dense", "Araujo et al. 2023", lambda: dense(lambda n: SLLDense(n, n)))
    yield one("CPL, convolutions", "Meunier et al. 2022", convolutional(lambda: CPLConv(channels, channels, side)))
    yield one("CPL, dense", "Meunier et al. 2022", lambda: dense(lambda n: CPLDense(n, n)))
    yield one("AOL, convolutions", "Prach and Lampert 2022", convolutional(one_lipschitz.AOLConv, minmax))
    yield one("AOL, dense", "Prach and Lampert 2022", lambda: dense(lambda n: nn.Sequential(AOLDense(n, n), nn.ReLU())))
    yield one("BRO, convolutions", "BRONet, Lai et al. 2025", convolutional(one_lipschitz.BROConv, minmax))
    yield one(
        "BRO, dense", "BRONet, Lai et al. 2025", lambda: dense(lambda n: nn.Sequential(BRODense(n, n // 2), nn.ReLU()))
    )
    yield one("sandwich, convolutions", "Wang and Manchester 2023", convolutional(one_lipschitz.SandwichConv))
    yield one("sandwich, dense", "Wang and Manchester 2023", lambda: dense(lambda n: Sandwich(n, n)))
    yield one("SOC", "Singla and Feizi 2021", convolutional(one_lipschitz.SOCConv, minmax))
    yield one("Cayley", "Trockman and Kolter 2021", convolutional(one_lipschitz.CayleyConv, minmax))
    yield one("LOT", "Xu et al. 2022", convolutional(one_lipschitz.LOTConv, minmax))
    yield one("BCOP", "Li et al. 2019", convolutional(one_lipschitz.BCOPConv, minmax))
    yield one("LipNeXt", "shifts on the torus, orthogonal matrices, β-abs", convolutional(one_lipschitz.Shifted))
    yield one("AOC with strides", "orthogonium, Boissin et al. 2025", libraries.orthogonium_aoc)
    yield one("torchlip, dense", "deel-torchlip", libraries.torchlip_dense)
    yield one("torchlip, residual", "deel-torchlip", libraries.torchlip_residual)
    yield Row("LiResNet, MaxMin", "Hu et al. 2023", one_lipschitz.liresnet)
    yield Row("GloRo 2C2F, MaxMin", "Leino et al. 2021", one_lipschitz.gloro, DIGIT)


def _ordinary() -> Iterator[Row]:
    yield Row("LeNet-5", "LeCun et al. 1998", plain.lenet5, DIGIT)
    yield Row("VGG-11", "Simonyan and Zisserman 2015", plain.vgg11)
    yield Row("All-CNN-C", "Springenberg et al. 2015", plain.all_convolutional)
    yield Row("network in network", "Lin et al. 2014", plain.network_in_network)
    yield Row("SqueezeNet", "Iandola et al. 2016", plain.squeezenet)
    yield Row("GoogLeNet", "Szegedy et al. 2015", plain.googlenet)
    yield Row("ResNet-18", "He et al. 2016", residual.resnet18)
    yield Row("PreAct ResNet-18", "He et al. 2016b", residual.preact_resnet18)
    yield Row("WideResNet-10-2", "Zagoruyko and Komodakis 2016", residual.wide_resnet10)
    yield Row("ResNeXt-29", "Xie et al. 2017", residual.resnext29)
    yield Row("SE-ResNet-18", "Hu et al. 2018", residual.se_resnet18)
    yield Row("DenseNet-121", "Huang et al. 2017", residual.densenet121)
    yield Row("RegNetX-200MF", "Radosavovic et al. 2020", lambda: residual.regnet(gated=False))
    yield Row("RegNetY-200MF", "Radosavovic et al. 2020", lambda: residual.regnet(gated=True))
    yield Row("MobileNetV2", "Sandler et al. 2018", mobile.mobilenet_v2)
    yield Row("MobileNetV3-Small", "Howard et al. 2019", mobile.mobilenet_v3)
    yield Row("ShuffleNetV2", "Ma et al. 2018", mobile.shufflenet_v2)
    yield Row("EfficientNet-B0", "Tan and Le 2019", mobile.efficientnet_b0)
    yield Row("ConvNeXt", "Liu et al. 2022", patches.convnext)
    yield Row("MLP-Mixer", "Tolstikhin et al. 2021", patches.mixer)
    yield Row("ResMLP", "Touvron et al. 2021", patches.resmlp)
    yield Row("PoolFormer", "Yu et al. 2022", patches.poolformer)
    yield Row("ViT", "Dosovitskiy et al. 2021", attention.ViT)
    yield Row("Swin", "Liu et al. 2021", attention.Swin)
    yield Row("CCT", "Hassani et al. 2021", attention.CCT)
    yield Row("U-Net, a logit a pixel", "Ronneberger et al. 2015", other_outputs.Unet)
    yield Row("ResNet-18, features", "He et al. 2016", other_outputs.features)
    yield Row("regressor", "dense, tanh", other_outputs.regressor, (13,))


ROWS = {row.name: row for row in (*_one_lipschitz(), *_ordinary())}
