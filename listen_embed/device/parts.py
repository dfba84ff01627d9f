"""Small parts that people have, and the microphones on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Microphone:
    """A microphone, and the rates that it can be read at, in Hz."""

    name: str
    rates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A microcontroller or its board.

    Attributes
    ----------
    name : str
        For command lines.
    title : str
        As its maker calls it.
    processor : str
    has_fpu : bool
        Whether it computes in single precision.
    clock_hz, flash, ram : int
        Of the part, in Hz and bytes.
    free_flash, free_ram : int
        Bytes less what a program around the library needs.
    microphones : tuple of Microphone
        That stand on the board.
    """

    name: str
    title: str
    processor: str
    has_fpu: bool
    clock_hz: int
    flash: int
    ram: int
    free_flash: int
    free_ram: int
    microphones: tuple[Microphone, ...] = ()


_K, _M = 1024, 1 << 20
# Digital microphones: the rates of the makers' own drivers.
_PDM = (16_000, 32_000, 48_000)

PARTS = (
    Part("nano33", "Arduino Nano 33 BLE (nRF52840)", "cortex-m4", True, 64_000_000, _M, 256 * _K,
         1_000_000, 240_000, (Microphone("MP34DT05", (16_000,)),)),
    Part("pico", "Raspberry Pi Pico (RP2040)", "cortex-m0plus", False, 133_000_000, 2 * _M,
         264 * _K, 2_000_000, 250_000),
    Part("esp32s3", "ESP32-S3", "xtensa-lx7", True, 240_000_000, 4 * _M, 512 * _K,
         4_000_000, 320_000),
    Part("stm32l4", "STM32L4 with 128 kB RAM", "cortex-m4", True, 80_000_000, _M, 128 * _K,
         1_000_000, 110_000, (Microphone("left", _PDM), Microphone("right", _PDM))),
    Part("stm32f4", "STM32F4 with 64 kB RAM", "cortex-m4", True, 84_000_000, 256 * _K, 64 * _K,
         256_000, 55_000),
    Part("cortexm32k", "Cortex-M with 32 kB RAM", "cortex-m3", False, 32_000_000, 128 * _K, 32 * _K,
         128_000, 27_000),
)  # fmt: skip
