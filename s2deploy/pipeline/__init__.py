"""The only package that knows the order of the stages."""

from s2deploy.pipeline.benching import bench
from s2deploy.pipeline.building import build, dry_run
from s2deploy.pipeline.exporting import export
from s2deploy.pipeline.inspecting import inspect
from s2deploy.pipeline.running import run
from s2deploy.pipeline.validating import validate

__all__ = ["bench", "build", "dry_run", "export", "inspect", "run", "validate"]
