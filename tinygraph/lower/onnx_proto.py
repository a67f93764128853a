"""The records of an exported model as the messages of the package ``onnx``, checked and written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .onnx_body import DOMAIN, Function, Line, Model, Typed

OPSET, IR = 18, 10  # older than what the package writes by default, which onnxruntime does not load
SCOPE = "tinygraph.scope"


def written(model: Model, path: Any) -> onnx.ModelProto:
    """The model, checked, and saved at a path if there is one."""
    graph = helper.make_graph(
        _nodes(model.lines),
        model.name,
        list(map(_value, model.inputs)),
        list(map(_value, model.outputs)),
        [numpy_helper.from_array(array, name) for name, array in model.initializers.items()],
        value_info=list(map(_value, model.between)),
    )
    proto = helper.make_model(
        graph,
        producer_name="tinygraph",
        ir_version=IR,
        opset_imports=_opsets(bool(model.functions)),
        functions=list(map(_function, model.functions)),
    )
    onnx.checker.check_model(proto, full_check=True)
    if path is not None:
        onnx.save(proto, path)
    return proto


def _value(typed: Typed) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(typed.name, helper.np_dtype_to_tensor_dtype(typed.dtype), typed.shape)


def _opsets(local: bool) -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid("", OPSET), *([helper.make_opsetid(DOMAIN, 1)] if local else [])]


def _function(f: Function) -> onnx.FunctionProto:
    local = any(line.domain for line in f.lines)
    return helper.make_function(DOMAIN, f.name, f.inputs, f.outputs, _nodes(f.lines), _opsets(local))


def _nodes(lines: Iterable[Line]) -> list[onnx.NodeProto]:
    return list(map(_node, lines))


def _node(line: Line) -> onnx.NodeProto:
    attributes = {name: _attribute(value) for name, value in line.attributes.items()}
    node = helper.make_node(line.op, line.inputs, line.outputs, line.outputs[0], domain=line.domain, **attributes)
    if line.scope:
        node.metadata_props.add(key=SCOPE, value=line.scope)
    return node


def _attribute(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return numpy_helper.from_array(value)
    return helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
