"""What pytest's header says of the suite: what will be measured, where, and what an earlier run died of."""

from __future__ import annotations

from .xdist import cores


def header_lines(devices: list[str], workers: int, share: int) -> list[str]:
    """Which worker has which device; for a single process one line of advice where others would stay idle.

    ``share`` is how many trials a device is meant to take side by side.
    """
    if not workers:
        return [*(f"mad: this process trains on {device}" for device in devices[:1]), *_advice(devices, share)]
    lines = [
        f"mad: {', '.join(f'gw{i}' for i in range(first, workers, len(devices)))} on {device}"
        for first, device in enumerate(devices[:workers])
    ]
    if devices and workers > len(devices) * share:
        most = -(-workers // len(devices))
        lines.append(f"mad: up to {most} workers share a device, more than --mad-trials-per-gpu={share}")
    return lines


def _advice(devices: list[str], share: int) -> list[str]:
    if not devices:
        return [f"mad: add -n auto to train on {cores()} cores at a time"] if cores() > 1 else []
    trials, gpus = len(devices) * share, "1 GPU" if len(devices) == 1 else f"{len(devices)} GPUs"
    return [f"mad: add -n auto to train {trials} settings at a time on {gpus}"] if trials > 1 else []
