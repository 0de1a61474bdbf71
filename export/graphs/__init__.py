"""A trained model to SavedModel and ONNX files. The only room that imports tensorflow, tf2onnx and onnx."""
