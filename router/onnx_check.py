"""May this ONNX file be loaded? One file, plain operators: a graph can name other files, and bring its own code."""

from __future__ import annotations

import onnx

from router.errors import RouterRefused

# Those of an exported and quantised BERT with a head; none holds a subgraph.
_OPERATORS = frozenset(
    """
    Add And Cast Clip Concat Constant DequantizeLinear Div DynamicQuantizeLinear Equal Erf Expand Gather
    GatherElements GatherND Gelu Gemm GreaterOrEqual Identity LayerNormalization Less MatMul MatMulInteger Max Mul
    Neg Not Pow Range ReduceL2 ReduceMean ReduceSum Relu Reshape Shape Slice Softmax Sqrt Squeeze Sub Tanh Transpose
    Unsqueeze Where
    """.split()  # noqa: SIM905 - a list of fifty strings reads worse
)
_NEWEST_OPSET = 25


def check(model: bytes) -> None:
    """Raises RouterRefused."""
    try:
        graph = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's kinds of errors are not public
        raise RouterRefused(f"the model is no ONNX file: {error}") from error
    if graph.functions or any(opset.domain not in ("", "ai.onnx") for opset in graph.opset_import):
        raise RouterRefused("the model brings operators of its own")
    if any(opset.version > _NEWEST_OPSET for opset in graph.opset_import):
        raise RouterRefused(f"the model needs a newer opset than {_NEWEST_OPSET}")
    for node in graph.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
            raise RouterRefused(f"the model has the operator {node.domain or 'ai.onnx'}.{node.op_type}")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise RouterRefused(f"the operator {node.op_type} holds a graph of its own")
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise RouterRefused(f"the tensor {tensor.name!r} lies in another file")


def _tensors(graph: onnx.ModelProto) -> list[onnx.TensorProto]:
    sparse = [part for tensor in graph.graph.sparse_initializer for part in (tensor.values, tensor.indices)]
    inside = [attribute for node in graph.graph.node for attribute in node.attribute]
    held = [part for a in inside for part in (a.t, *a.tensors, a.sparse_tensor.values, a.sparse_tensor.indices)]
    return [*graph.graph.initializer, *sparse, *held]
