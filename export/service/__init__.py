"""A release over HTTP: texts, pictures and features to packed codes, and search in codes. FastAPI and uvicorn."""
