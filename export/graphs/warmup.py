"""Requests that TensorFlow Serving sends itself before it answers others. TensorFlow only.

The messages are those of tensorflow_serving/apis, by field numbers, without that package. A tensor stands in its
place as bytes: a message in a message is its bytes on the wire.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

REQUESTS = "assets.extra/tf_serving_warmup_requests"
"""Below the SavedModel."""

_MESSAGES = """
name: "scbch_keras/warmup.proto" package: "scbch_keras.warmup" syntax: "proto3"
message_type { name: "ModelSpec"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "signature_name" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "PredictRequest"
  field { name: "model_spec" number: 1 type: TYPE_MESSAGE type_name: "ModelSpec" label: LABEL_OPTIONAL }
  field { name: "inputs" number: 2 type: TYPE_MESSAGE type_name: "InputsEntry" label: LABEL_REPEATED }
  nested_type { name: "InputsEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL } } }
message_type { name: "PredictLog"
  field { name: "request" number: 1 type: TYPE_MESSAGE type_name: "PredictRequest" label: LABEL_OPTIONAL } }
message_type { name: "PredictionLog"
  field { name: "predict_log" number: 6 type: TYPE_MESSAGE type_name: "PredictLog" label: LABEL_OPTIONAL } }
"""


def prediction_log() -> Any:
    """The class of a PredictionLog. In a pool of its own: tensorflow-serving-api may be imported as well."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_MESSAGES, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("scbch_keras.warmup.PredictionLog"))


def write_warmup(saved_model: Path, name: str, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Write signatures and their inputs (tensors or arrays, by name) as requests to the model `name`."""
    path = saved_model / REQUESTS
    path.parent.mkdir()
    kind = prediction_log()
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            log = kind()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, values in inputs.items():
                request.inputs[key] = tf.make_tensor_proto(values).SerializeToString()
            file.write(log.SerializeToString())
