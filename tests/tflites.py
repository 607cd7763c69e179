"""Small models in TensorFlow Lite's format, written straight from its schema: each output is one byte of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SCALE = 1 / 256  # of integers: an output of 128 is exactly 0.5


def pixel_of(output: int) -> int:
    """Where the byte of an output stands in an RGB image as a row of bytes."""
    return 7 * output


def write_model(
    path: Path, outputs: int, kind: str = "uint8", *, told: str | None = None, shape: Sequence[int] = (1, 6, 5, 3),
    scale: float = SCALE, without: str | None = None,
) -> Path:
    """Write a model that multiplies an image by a matrix of 0 and 1, in integers or floats.

    Parameters
    ----------
    path : path
    outputs : int
    kind : {"uint8", "int8", "float32"}
        What it takes.
    told : str, optional
        What it gives, if another kind: "float32" of integers.
    shape : sequence of int
        Of the input.
    scale : float
        Of integer inputs and outputs; 0 writes none.
    without : str, optional
        A part to leave out, such as "subgraphs".
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [graph]
    graph.tensors, graph.operators = [], []

    def tensor(kind: str, shape: Sequence[int], data: Any = None, zero: int | None = None, scale: float = 0.0) -> int:
        made = schema.TensorT()
        made.name, made.shape = f"tensor {len(graph.tensors)}", list(shape)
        made.type, made.buffer = getattr(schema.TensorType, kind.upper()), 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(data, kind).tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        if zero is not None and scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(name: str, inputs: list[int], outputs: list[int], version: int, options: str) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = version
        model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes) - 1, inputs, outputs
        made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        made.builtinOptions = getattr(schema, f"{options}T")()
        graph.operators.append(made)

    whole = kind != "float32"
    lowest = {"uint8": 0, "int8": -128}.get(kind)
    nothing = {"uint8": 128, "int8": 0, "float32": 0}[kind]  # what stands for 0 among the weights
    matrix = np.full((outputs, int(np.prod(shape))), nothing)
    matrix[range(outputs), [pixel_of(output) for output in range(outputs)]] += 1
    image = tensor(kind, shape, zero=lowest, scale=scale)
    weights = tensor(kind, matrix.shape, matrix, nothing if whole else None, 1.0)
    bias = tensor("int32" if whole else kind, (outputs,), np.zeros(outputs), 0 if whole else None, scale)
    scores = tensor(kind, (1, outputs), zero=lowest, scale=scale)
    operator("FULLY_CONNECTED", [image, weights, bias], [scores], 4 if kind == "int8" else 1, "FullyConnectedOptions")
    if told not in (None, kind):
        scores, inner = tensor(told, (1, outputs)), scores
        operator("DEQUANTIZE", [inner], [scores], 2 if kind == "int8" else 1, "DequantizeOptions")
    graph.inputs, graph.outputs = [image], [scores]
    if without:
        setattr(model, without, None)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(builder.Output())
    return path
