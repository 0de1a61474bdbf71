"""What serves a release: encoder, index, files of codes. numpy and onnxruntime only."""
