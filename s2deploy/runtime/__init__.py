"""Runs artifacts: one `Session` whatever the file is."""

from s2deploy.runtime.exchange import on_disk
from s2deploy.runtime.load import load
from s2deploy.runtime.onnx_session import OnnxSession
from s2deploy.runtime.session import Session
from s2deploy.runtime.tensors import TensorInfo
from s2deploy.runtime.worker import Worker

__all__ = ["OnnxSession", "Session", "TensorInfo", "Worker", "load", "on_disk"]
