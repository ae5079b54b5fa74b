"""Graphs that must never reach onnxruntime: built here, one for each way to be more than plain operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from router.errors import RouterRefused
from router.onnx_check import check

FLOATS = ("x", TensorProto.FLOAT, [1])
WEIGHT = numpy_helper.from_array(np.ones(1, np.float32), "w")


def model(
    nodes: Sequence[onnx.NodeProto] = (),
    weights: Sequence[onnx.TensorProto] = (),
    opsets: Sequence[tuple[str, int]] = (("", 18),),
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Add", ["x", "x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info(*FLOATS)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        initializer=list(weights),
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    made: bytes = helper.make_model(graph, opset_imports=imports, functions=list(functions)).SerializeToString()
    return made


def outside(location: str = "/etc/hostname") -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def marked_plain() -> onnx.TensorProto:
    """External data of a tensor that says it has none."""
    tensor = outside()
    tensor.data_location = TensorProto.DEFAULT
    return tensor


def branch() -> onnx.NodeProto:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "inner", [], [])
    return helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)


def hidden_graph() -> onnx.NodeProto:
    """An attribute that no such operator has."""
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "inner", [], [])
    return helper.make_node("Add", ["x", "x"], ["y"], more=inner)


def sparse() -> bytes:
    made = onnx.load_model_from_string(model())
    made.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=outside(), indices=numpy_helper.from_array(np.zeros(1, np.int64)), dims=[1])
    )
    content: bytes = made.SerializeToString()
    return content


FUNCTION = helper.make_function(
    "own", "Mine", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 18)]
)
ADD = helper.make_node("Add", ["x", "w"], ["y"])
REFUSED = {
    "noise": (b"noise" * 100, "no ONNX file"),
    "data of another file": (model([ADD], [outside()]), "'w' lies in another file"),
    "data of a file above": (model([ADD], [outside("../../secret")]), "lies in another file"),
    "data of another file, denied": (model([ADD], [marked_plain()]), "lies in another file"),
    "a constant of another file": (
        model([helper.make_node("Constant", [], ["y"], value=outside())]),
        "lies in another file",
    ),
    "sparse data of another file": (sparse(), "lies in another file"),
    "an unknown operator": (model([helper.make_node("Conjure", ["x"], ["y"])]), "ai.onnx.Conjure"),
    "a loop": (model([helper.make_node("Loop", ["x"], ["y"])]), "ai.onnx.Loop"),
    "an operator of another domain": (
        model([helper.make_node("Add", ["x", "x"], ["y"], domain="com.microsoft")]),
        "com.microsoft.Add",
    ),
    "another domain announced": (model(opsets=(("", 18), ("com.example", 1))), "operators of its own"),
    "a local function": (
        model([helper.make_node("Mine", ["x"], ["y"], domain="own")], functions=[FUNCTION]),
        "operators of its own",
    ),
    "a branch": (model([branch()]), "ai.onnx.If"),
    "a graph in an attribute": (model([hidden_graph()]), "Add holds a graph"),
    "a newer opset": (model(opsets=(("", 99),)), "newer opset"),
}


def test_a_plain_graph_passes() -> None:
    check(model())
    check(model([ADD], [WEIGHT]))


@pytest.mark.parametrize(("content", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(content: bytes, says: str) -> None:
    with pytest.raises(RouterRefused, match=says):
        check(content)
