"""Runs artifacts: one `Session` whatever the file is."""

from s2deploy.runtime.load import load
from s2deploy.runtime.session import OnnxSession, Session, TensorInfo

__all__ = ["OnnxSession", "Session", "TensorInfo", "load"]
