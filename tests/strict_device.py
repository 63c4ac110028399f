"""A device without a GPU: arrays that can't be mixed with NumPy's, as those of CuPy can't.

`StrictArray` refuses implicit conversion to a NumPy array, operations with NumPy arrays,
and assignment of them. Reductions and elements are arrays of no dimension, as in CuPy, not
scalars. `StrictOps` are Thinc's operations on these arrays.
"""

import types
from typing import Any

import numpy as np
import thinc.optimizers
import thinc.util
from numpy.lib.mixins import NDArrayOperatorsMixin
from spacy.language import Language
from thinc.api import NumpyOps, Ops

# Functions of CuPy that take NumPy arrays and copy them to the device
COPIES_FROM_HOST = ("asarray", "array", "ascontiguousarray")


class StrictArray(NDArrayOperatorsMixin):
    """An array on the device."""

    __array_priority__ = 1000

    def __init__(self, values: Any):
        self._values = np.asarray(values)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()`"
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        call = getattr(ufunc, method)
        out = kwargs.pop("out", None)
        values = [unwrap(value) for value in inputs]
        if out is not None:
            call(*values, out=tuple(unwrap(array) for array in out), **unwrap(kwargs))
            return out[0]
        return wrap(call(*values, **unwrap(kwargs)))

    def __array_function__(self, function, array_types, args, kwargs):
        return wrap(function(*unwrap(list(args)), **unwrap(kwargs)))

    def get(self) -> np.ndarray:
        """Copy the array to the host."""
        return self._values.copy()

    def __getitem__(self, index):
        return wrap(self._values[unwrap(index)])

    def __setitem__(self, index, value):
        self._values[unwrap(index)] = unwrap(value)

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (wrap(value) for value in self._values)

    def __bool__(self):
        return bool(self._values)

    def __float__(self):
        return float(self._values)

    def __int__(self):
        return int(self._values)

    def __index__(self):
        return self._values.__index__()

    def __repr__(self):
        return f"StrictArray({self._values!r})"

    def __deepcopy__(self, memo):
        return StrictArray(self._values.copy())

    def __reduce__(self):
        return StrictArray, (self._values,)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._values, name)
        if callable(value):
            return lambda *args, **kwargs: wrap(
                value(*unwrap(list(args)), **unwrap(kwargs))
            )
        return wrap(value) if isinstance(value, np.ndarray) else value


def unwrap(value: Any) -> Any:
    """Return the NumPy arrays behind device arrays; refuse NumPy arrays themselves."""
    if isinstance(value, StrictArray):
        return value._values
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, dict):
        return {name: unwrap(item) for name, item in value.items()}
    return value


def wrap(value: Any) -> Any:
    """Return device arrays for NumPy arrays and scalars."""
    if isinstance(value, (np.ndarray, np.generic)):
        return StrictArray(value)
    if isinstance(value, (tuple, list)):
        return type(value)(wrap(item) for item in value)
    return value


class StrictModule(types.ModuleType):
    """NumPy's functions on device arrays."""

    ndarray = StrictArray

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if isinstance(function, type) or not callable(function):
            return function
        if name in COPIES_FROM_HOST:
            return lambda value, *args, **kwargs: StrictArray(
                function(_to_host(value), *args, **kwargs)
            )
        if name == "split":  # CuPy takes the indices from the host
            return lambda array, indices, **kwargs: wrap(
                function(unwrap(array), indices, **kwargs)
            )
        return lambda *args, **kwargs: wrap(
            function(*unwrap(list(args)), **unwrap(kwargs))
        )


def _to_host(value: Any) -> Any:
    if isinstance(value, StrictArray):
        return value._values
    if isinstance(value, (tuple, list)):
        return [_to_host(item) for item in value]
    return value


XP = StrictModule("strict_device")
_HOST = NumpyOps()


class StrictOps(Ops):
    """Thinc's operations on the device. The kernels that Thinc has for CuPy run on NumPy."""

    name = "strict"
    xp = XP

    def to_numpy(self, data, *, byte_order=None):
        return data.get() if isinstance(data, StrictArray) else data

    def asarray(self, data, dtype=None):
        return XP.array(data, dtype=dtype)

    def gemm(self, x, y, out=None, trans1=False, trans2=False):
        result = _HOST.gemm(unwrap(x), unwrap(y), trans1=trans1, trans2=trans2)
        if out is None:
            return wrap(result)
        out[...] = wrap(result)
        return out

    def scatter_add(self, table, indices, values):
        np.add.at(unwrap(table), unwrap(indices), unwrap(values))
        return table

    def hash(self, ids, seed):
        return wrap(_HOST.hash(unwrap(ids).astype("uint64"), seed))

    def seq2col(self, X, nW, *, lengths=None):
        return wrap(_HOST.seq2col(unwrap(X), nW, lengths=_get_lengths(lengths)))

    def backprop_seq2col(self, dY, nW, *, lengths=None):
        return wrap(
            _HOST.backprop_seq2col(unwrap(dY), nW, lengths=_get_lengths(lengths))
        )

    def maxout(self, X):
        return wrap(_HOST.maxout(unwrap(X)))

    def backprop_maxout(self, dY, which, P):
        return wrap(_HOST.backprop_maxout(unwrap(dY), unwrap(which), P))

    def adam(self, *args, **kwargs):
        arrays = [unwrap(value) for value in args]
        return wrap(_HOST.adam(*arrays, **kwargs))


def _get_lengths(lengths: Any) -> Any:
    return None if lengths is None else unwrap(lengths)


def _get_array_ops(array: Any) -> Ops:
    return StrictOps() if isinstance(array, StrictArray) else _HOST


def install_strict_ops(monkeypatch: Any) -> None:
    """Let Thinc recognise device arrays, as it recognises CuPy's."""
    monkeypatch.setattr(
        thinc.util, "is_cupy_array", lambda value: isinstance(value, StrictArray)
    )
    monkeypatch.setattr(thinc.util, "cupy", XP)
    monkeypatch.setattr(thinc.util, "has_cupy", True)
    monkeypatch.setattr(thinc.optimizers, "get_array_ops", _get_array_ops)


def move_to_strict_device(nlp: Language) -> Language:
    """Move the models of a pipeline to the device, as `Model.to_gpu` does."""
    ops = StrictOps(device_type="gpu", device_id=0)
    models = [pipe.model for _, pipe in nlp.pipeline if hasattr(pipe, "model")]
    for node in (node for model in models for node in model.walk()):
        node.ops = ops
        for name in node.param_names:
            if node.has_param(name):
                node.set_param(name, ops.asarray(node.get_param(name)))
    return nlp
