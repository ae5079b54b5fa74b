"""The encoder from its package to int8 ONNX, and the cohort head into its graph. Loaded by the fitting child only."""

from __future__ import annotations

import io
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import BertModel
from transformers.utils.logging import disable_progress_bar

from router.encoder import HEAD_OUTPUT, SENTENCE_OUTPUT

LEAST_COSINE = 0.95  # between a sentence of the exported graph and the model's

Floats = npt.NDArray[np.float32]


class Sentence(torch.nn.Module):
    """Mean of the last layer over the tokens, of length 1, as sentence-transformers defines this model."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        # oneDNN makes its kernels at run time, which the unit's MemoryDenyWriteExecute= forbids to all it starts.
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        disable_progress_bar()  # type: ignore[no-untyped-call]
        self.bert = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False)
        self.eval()  # no dropout

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)


def encoder(sentence: Sentence) -> bytes:
    """The model as one ONNX file: ids, mask (batch, length) int64 -> sentence (batch, 384) float32.

    Only MatMul is quantised, per channel: on one thread that halved the time, and quantising the rest as well
    made it slower.
    """
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=512)
    ids, mask = (torch.ones(2, 7, dtype=torch.int64) for _ in range(2))  # one tensor twice would become one input
    program = torch.onnx.export(
        sentence,
        (ids, mask),
        dynamo=True,
        verbose=False,
        input_names=["ids", "mask"],
        output_names=[SENTENCE_OUTPUT],
        dynamic_shapes={"ids": {0: batch, 1: length}, "mask": {0: batch, 1: length}},
    )
    assert program is not None  # noqa: S101 - with dynamo it is
    with tempfile.TemporaryDirectory() as scratch:
        plain, quantised = Path(scratch) / "plain.onnx", Path(scratch) / "int8.onnx"
        program.save(plain)
        quantize_dynamic(
            plain, quantised, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8
        )
        model = quantised.read_bytes()
    _compare(model, sentence)
    return model


def _compare(model: bytes, sentence: Sentence) -> None:
    """Raises ValueError when the graph does not say what the model says: rounding to int8 costs about 0.01."""
    ids = np.arange(1000, 1064, dtype=np.int64)[None]
    mask = np.ones_like(ids)
    (found,) = onnxruntime.InferenceSession(model).run(None, {"ids": ids, "mask": mask})
    with torch.inference_mode():
        wanted = sentence(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    if (cosine := float(found[0] @ wanted[0])) < LEAST_COSINE:
        raise ValueError(f"the exported encoder differs from the model: cosine {cosine:.3f}")


def with_head(model: bytes, layers: list[tuple[Floats, Floats]]) -> bytes:
    """The same graph with a perceptron on the sentence: (inputs, outputs) weights and biases, ReLU between them,
    softmax at the end."""
    graph = onnx.load_model_from_string(model)
    last = SENTENCE_OUTPUT
    for number, (weights, bias) in enumerate(layers):
        names = f"head.{number}.weight", f"head.{number}.bias"
        for name, values in zip(names, (weights, bias), strict=True):
            graph.graph.initializer.append(numpy_helper.from_array(values, name))
        graph.graph.node.append(helper.make_node("Gemm", [last, *names], [f"head.{number}"]))
        last = f"head.{number}"
        if number < len(layers) - 1:
            graph.graph.node.append(helper.make_node("Relu", [last], [f"{last}.relu"]))
            last = f"{last}.relu"
    graph.graph.node.append(helper.make_node("Softmax", [last], [HEAD_OUTPUT], axis=-1))
    shape = ["batch", layers[-1][0].shape[1]]
    graph.graph.output.append(helper.make_tensor_value_info(HEAD_OUTPUT, TensorProto.FLOAT, shape))
    buffer = io.BytesIO()
    onnx.save_model(graph, buffer)
    return buffer.getvalue()


def versions() -> dict[str, str]:
    """Of the libraries that shape the result."""
    found = {name: metadata.version(name) for name in ("torch", "transformers", "onnx", "scikit-learn")}
    return {**found, "onnxruntime": onnxruntime.__version__}  # its distribution has another name with a GPU
