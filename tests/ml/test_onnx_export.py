"""Export of encoders to ONNX."""

import logging
import threading

import pytest

from welt_spacy.ml.encoder.convert import optimize_encoder

from ..factories.encoders import make_model

pytest.importorskip("torch")
pytest.importorskip("onnx")
quantization = pytest.importorskip("onnxruntime.quantization")


def test_messages_of_other_threads_are_not_suppressed(encoders, monkeypatch, caplog):
    quantize_dynamic = quantization.quantize_dynamic

    def quantize(*args, **kwargs):
        logging.warning("advice")
        thread = threading.Thread(target=logging.warning, args=("other thread",))
        thread.start()
        thread.join()
        return quantize_dynamic(*args, **kwargs)

    monkeypatch.setattr(quantization, "quantize_dynamic", quantize)
    optimize_encoder(make_model(encoders["bert"]), "int8")
    logging.warning("afterwards")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["other thread", "afterwards"]
