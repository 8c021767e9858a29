"""State dicts: read without running code, unwrapped, and fitted strictly to a module."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy.errors import ArtifactError, UntrustedPickleError, UsageError, WeightsError
from s2deploy.model.formats import Format, detect, require_file
from s2deploy.model.pickles import read_trusted, read_weights_only

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

_WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params",
    "ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema",
)  # fmt: skip
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_SHOWN = 5


def apply(module: torch.nn.Module, path: Path, *, trust_pickle: bool = False) -> None:
    """Loads a file's weights into a module, every key and every shape fitting.

    Wrappers such as ``{"state_dict": ...}`` and prefixes such as ``module.`` are taken off; where several
    readings are possible, the one that fits best is taken, the order of `_WRAPPERS` deciding between equals.

    Args:
        module: Receives the weights; its own dtypes are kept.
        path: A ``.safetensors`` file or one written by ``torch.save``.
        trust_pickle: Whether the file may run code when torch cannot read it with ``weights_only``.

    Raises:
        UsageError: There is no such file, or it is a model rather than weights.
        UntrustedPickleError: Reading the file would run code from it.
        ArtifactError: The file is damaged.
        WeightsError: Keys are missing or unexpected, or shapes differ.
    """
    stored = _read(path, trust_pickle)
    readings = [reading for state in _state_dicts(stored) for reading in _without_prefixes(state)]
    if not readings:
        raise WeightsError(
            f"{path} holds no tensors by name", hint="save the weights with torch.save(module.state_dict(), path)"
        )
    expected = module.state_dict()
    state = min(readings, key=lambda reading: _misfit(reading, expected))
    state = _tie(state, expected)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit the model: {_differences(state, expected) or error}",
            hint="check that the factory and --kwargs are those the weights were trained with",
        ) from error


def _read(path: Path, trust_pickle: bool) -> Any:
    require_file(path, "weights file")
    form = detect(path)
    if form is Format.SAFETENSORS:
        return _read_safetensors(path)
    if form is not Format.PICKLE:
        raise UsageError(
            f"weights file {path} is a whole model ({form.value}), not a state_dict",
            hint=f"give it as the MODEL itself: s2deploy export {path}",
        )
    try:
        return read_weights_only(path)
    except UntrustedPickleError:
        if not trust_pickle:
            raise
    return read_trusted(path)


def _read_safetensors(path: Path) -> State:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path, device="cpu")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not a readable safetensors file: {error}", hint="save or download it again"
        ) from error


def _state_dicts(stored: Any) -> Iterator[State]:
    """Yields every mapping of names to tensors inside a checkpoint, outermost first."""
    import torch

    if isinstance(stored, torch.nn.Module):
        stored = stored.state_dict()
    if not isinstance(stored, Mapping):
        return
    tensors = {name: value for name, value in stored.items() if isinstance(value, torch.Tensor)}
    if tensors and all(isinstance(name, str) for name in tensors):
        yield tensors
    for name in _WRAPPERS:
        yield from _state_dicts(stored.get(name))


def _without_prefixes(state: State) -> Iterator[State]:
    """Yields the state dict as it is, then with known wrapper prefixes taken off one by one."""
    while True:
        yield state
        inner = {name.replace("._orig_mod.", "."): value for name, value in state.items() if name != "n_averaged"}
        prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in inner)), "")
        stripped = {name[len(prefix) :]: value for name, value in inner.items()}
        if stripped.keys() == state.keys():
            return
        state = stripped


def _misfit(state: State, expected: Mapping[str, Any]) -> int:
    return len(state.keys() ^ expected.keys()) + len(_shape_differences(state, expected))


def _tie(state: State, expected: Mapping[str, torch.Tensor]) -> State:
    """Adds names the module shares with another: savers that drop duplicates store a tied weight once."""
    tensors = {name: tensor for name, tensor in expected.items() if hasattr(tensor, "data_ptr") and tensor.numel()}
    places = {name: (tensor.data_ptr(), tensor.shape, tensor.stride()) for name, tensor in tensors.items()}
    stored = {place: state[name] for name, place in places.items() if name in state}
    return {**{name: stored[place] for name, place in places.items() if place in stored}, **state}


def _shape_differences(state: State, expected: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {tuple(state[name].shape)}, the model wants {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and hasattr(tensor, "shape") and state[name].shape != tensor.shape
    ]


def _differences(state: State, expected: Mapping[str, Any]) -> str:
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_some([_nearest(name, unexpected) for name in missing])})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    if shapes := _shape_differences(state, expected):
        parts.append(f"{len(shapes)} of another shape ({_some(shapes)})")
    return "; ".join(parts)


def _nearest(name: str, others: list[str]) -> str:
    close = difflib.get_close_matches(name, others[:2000], n=1, cutoff=0.5)
    return f"{name}, nearest {close[0]}" if close else name


def _some(texts: list[str]) -> str:
    shown = texts[:_SHOWN]
    return ", ".join(shown) + (f" and {len(texts) - len(shown)} more" if len(texts) > len(shown) else "")
