"""The one table of rules: which function bounds which operation of torch, and which class of layers.

How to add a line: docs/adding-a-rule.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from robench.layers import FullSort, GroupSort2, HouseHolder, InputNormalization, L2NormPool2d, ScaledAvgPool2d
from robench.lipschitz.rules import (
    activations,
    contractions,
    convolutions,
    copies,
    grids,
    layers,
    matrices,
    pooling,
    scalings,
    sorting,
    squares,
    sums,
    transforms,
    writing,
)
from robench.lipschitz.trace.rulebook import ModuleRule, OperationRule, Rulebook
from robench.models.networks.input_copy import Copy

OPERATIONS: Mapping[OperationRule, str] = {
    matrices.linear: "linear",
    matrices.matmul: "matmul mm mv",
    matrices.addmm: "addmm",
    convolutions.convolution: "conv1d conv2d conv3d convolution",
    convolutions.conv_transpose: "conv_transpose1d conv_transpose2d conv_transpose3d",
    sums.add: "add sub rsub",
    scalings.multiply: "mul div",
    scalings.negate: "neg",
    scalings.batch_norm: "_native_batch_norm_legit_no_training batch_norm native_batch_norm cudnn_batch_norm",
    scalings.instance_norm: "instance_norm",
    sums.reduce: "mean sum",
    sums.scaled_sum: "addcmul addcdiv",
    sums.interpolate_between: "lerp",
    contractions.einsum: "einsum",
    contractions.bmm: "bmm",
    contractions.baddbmm: "baddbmm",
    contractions.cumulative_sum: "cumsum",
    copies.copy: """
        view _unsafe_view reshape flatten unflatten squeeze unsqueeze permute transpose t slice select narrow split
        split_with_sizes chunk unbind tensor_split expand expand_as view_as repeat tile flip roll rot90 pixel_shuffle
        pixel_unshuffle channel_shuffle native_channel_shuffle movedim swapaxes clone contiguous alias detach
        lift_fresh_copy view_copy index _unsafe_index index_select gather diagonal unfold im2col tril triu
        reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
        upsample_nearest1d upsample_nearest2d upsample_nearest3d
    """,
    copies.convert: "to _to_copy type_as",
    copies.fold: "col2im",
    copies.pad: "pad constant_pad_nd",
    copies.filled: "full_like zeros_like ones_like new_full new_zeros new_ones",
    copies.dropout: "dropout feature_dropout alpha_dropout feature_alpha_dropout",
    copies.native_dropout: "native_dropout",
    copies.concatenate: "cat stack concat concatenate hstack",
    activations.piecewise: "relu abs hardtanh relu6 clamp clamp_min clamp_max softshrink leaky_relu",
    activations.smooth: """
        elu selu celu gelu silu mish sigmoid tanh hardsigmoid hardswish log_sigmoid log_sigmoid_forward softplus
        sin cos atan erf asinh
    """,
    activations.prelu: "prelu",
    activations.randomized_relu: "rrelu rrelu_with_noise",
    activations.threshold: "threshold",
    activations.softmax: "softmax _softmax",
    activations.log_softmax: "log_softmax _log_softmax",
    activations.logsumexp: "logsumexp",
    activations.logaddexp: "logaddexp",
    sorting.sort: "sort",
    sorting.extreme_along: "amax amin max min",
    sorting.topk: "topk",
    sorting.kthvalue: "kthvalue",
    sorting.median: "median",
    sorting.running: "cummax cummin logcumsumexp",
    sorting.extremum: "maximum minimum fmax fmin",
    transforms.entering: "_fft_r2c view_as_complex",
    squares.power: "pow",
    squares.square: "square",
    squares.sign: "sign sgn",
    squares.root: "sqrt",
    squares.distances: "_cdist_forward",
    squares.deviation: "std",
    squares.vector_norm: "linalg_vector_norm norm",
    pooling.average_pool: "avg_pool1d avg_pool2d avg_pool3d",
    pooling.adaptive_average_pool: """
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d
    """,
    pooling.max_pool: """
        max_pool1d max_pool2d max_pool3d
        max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
    """,
    pooling.adaptive_max_pool: "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
    pooling.interpolate: "upsample_linear1d upsample_bilinear2d upsample_trilinear3d",
    pooling.interpolate_cubic: "upsample_bicubic2d",
    grids.sample: "grid_sampler grid_sampler_2d grid_sampler_3d",
    writing.scatter: "slice_scatter select_scatter diagonal_scatter",
    writing.copy_over: "copy",
    writing.fill: "fill",
    writing.index_put: "index_put",
    writing.written_along: "scatter index_copy index_fill",
    writing.added_along: "scatter_add index_add",
    writing.where: "where",
    writing.masked_fill: "masked_fill",
}
"""Operations of ATen, without library and overload."""

WRITTEN_OUT: Mapping[OperationRule, str] = {
    activations.gate: "swish swish_rates erf_gate hard_gate",
    activations.smooth: "softsign softplus hardsigmoid_gate",
    activations.written_elu: "elu",
    activations.leaky: "leaky",
    activations.reflection: "reflection",
}
"""Operations of `trace/written_out.py`."""

MODULES: Mapping[ModuleRule, tuple[type[nn.Module] | str, ...]] = {
    layers.identity: (Copy, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    layers.linear: (nn.Linear,),
    layers.convolution: (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    layers.batch_norm: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    layers.flatten: (nn.Flatten,),
    layers.relu: (nn.ReLU,),
    layers.leaky_relu: (nn.LeakyReLU,),
    layers.tanh: (nn.Tanh,),
    layers.sigmoid: (nn.Sigmoid,),
    layers.softsign: (nn.Softsign,),
    layers.max_pool: (nn.MaxPool2d,),
    layers.average_pool: (nn.AvgPool2d,),
    layers.lp_pool: (nn.LPPool2d,),
    layers.group_sort: (GroupSort2,),
    layers.full_sort: (FullSort,),
    layers.householder: (HouseHolder, "deel.torchlip.modules.activation.HouseHolder"),
    layers.scaled_householder: ("orthogonium.layers.custom_activations.HouseHolder",),
    layers.l2_pool: (L2NormPool2d,),
    layers.scaled_average_pool: (ScaledAvgPool2d,),
    layers.input_normalization: (InputNormalization,),
}
"""Layers; of libraries that need not be installed by their qualified names."""

_GATES = "its gates multiply signals that depend on the input, and robench has no rule for such products"
_ATTENTION = "attention multiplies signals that depend on the input, so it grows without bound"
_STEPS = "it moves the batch axis from the front, where robench follows it; a loop over nn.RNNCell leaves it there"
_PLACES = "robench bounds no antialiasing; average pooling makes images smaller without it"
_JUMPS = (
    "a comparison jumps; robench knows those that build a maximum, a minimum or one of the usual activations, such as "
    "where(a > b, a, b) or where(x > 0, x, c * x)"
)
_SHRINKS = "it jumps at its threshold; softshrink does not"
_PRODUCT = "it multiplies two signals that depend on the input, so it grows without bound"
_GROWS = (
    "it grows without bound; robench knows it as a part of sigmoid, SiLU, softplus and ELU, but of no tanh, softmax or "
    "log-sum that is written out: write torch.tanh, torch.softmax, torch.logsumexp"
)
_VARIANCE = "a variance grows without bound as a square does; torch.std is its root, and has a rule"
_SQUARED = "a square grows without bound; its root, such as torch.linalg.vector_norm, has a rule"
_HUBER = "robench has no rule for losses; sqrt(1 + x²) − 1 is as smooth next to 0 and has one"
_STAIRS = "it jumps from step to step"
_PRODUCTS = "it multiplies entries that depend on the input, so it grows without bound"
_REDUCED = "robench bounds scattered values that replace or are added (scatter, scatter_add), and no other reduction"
_UNPOOLED = "the places of its entries depend on the input, so it jumps where a maximum moves"
_STEEP = "it has no bounded slope next to 0"
_PLACE = "a position is not continuous"
_ANGLE = "an angle jumps; of a HouseHolder activation of order 2, register a rule for the layer: its constant is 1"
_DEVIATION = "it divides by the deviation of its own input, which has no bounded slope where that is small"

REASONS: Mapping[str, str] = {
    _GATES: "lstm gru lstm_cell gru_cell",
    _ATTENTION: "scaled_dot_product_attention _native_multi_head_attention",
    _DEVIATION: "layer_norm group_norm rms_norm",
    _STEPS: "rnn_tanh rnn_relu",
    _GROWS: "exp expm1 exp2",
    _STEEP: "reciprocal rsqrt log log2 log10",
    _PLACE: "argmax argmin argsort bucketize searchsorted",
    _ANGLE: "atan2",
    _JUMPS: "gt ge lt le eq ne",
    _PLACES: "_upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    _SHRINKS: "hardshrink",
    _PRODUCT: "glu",
    _VARIANCE: "var var_mean std_mean",
    _SQUARED: "mse_loss",
    _HUBER: "huber_loss smooth_l1_loss",
    _STAIRS: "round floor ceil trunc frac remainder fmod",
    _PRODUCTS: "prod cumprod bilinear _trilinear",
    _REDUCED: "scatter_reduce index_reduce",
    _UNPOOLED: "max_unpool2d max_unpool3d",
}
"""Why operations have no rule."""

RULES = Rulebook(
    operations={
        f"{library}.{name}": rule
        for library, rules in (("aten", OPERATIONS), ("robench", WRITTEN_OUT))
        for rule, names in rules.items()
        for name in names.split()
    },
    reasons={f"aten.{name}": reason for reason, names in REASONS.items() for name in names.split()},
    complex_numbers=transforms.on_spectrum,
    module_reasons={nn.MultiheadAttention: _ATTENTION},
)
for _rule, _kinds in MODULES.items():
    for _kind in _kinds:
        RULES.add(_kind, _rule)
