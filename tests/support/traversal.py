"""Texts that would lead out of a folder, in every spelling that some program once understood."""

from collections.abc import Iterator
from pathlib import Path

UPS = (
    "../", "..\\", "..%2f", "..%5c", "%2e%2e/", "%2e%2e%2f", "%2E%2E%5C", "..%252f",
    "%252e%252e%252f",
    "..%c0%af", "%c0%ae%c0%ae/", "..%e0%80%af", "..%c1%9c", "..%u2215", "\uff0e\uff0e/", "..\u2215",
    "..\uff0f", "....//", "..././", "..;/", ".. /", "../\0", "..%00/", "./../", "x/../../", "..//",
)  # fmt: skip
DEPTHS = range(1, 13)
DEVICES = ("CON", "con.txt", "NUL", "NUL.csv", "AUX", "COM1", "LPT1.log", "CONIN$", "PRN.tar.gz")


def corpus(canary: Path) -> list[str]:
    """Return some six hundred of them, all after one file outside or what every system has."""
    return list(dict.fromkeys(_all(canary)))


def _all(canary: Path) -> Iterator[str]:
    inside = canary.as_posix().lstrip("/")
    for up in UPS:
        for depth in DEPTHS:
            yield up * depth + (inside if depth > 5 else canary.name)
        yield up * 12 + "etc/passwd"
        yield up.rstrip("/\\") or up
    absolute = canary.as_posix()
    windows = absolute.replace("/", "\\")
    yield from (absolute, f"/{absolute}", f"//{absolute}", f"{absolute}/", f"{absolute}/.")
    yield from (f"/./{inside}", f"/proc/self/root/{inside}", "/proc/self/environ", "/dev/zero")
    yield from ("/dev/stdin", "/dev/fd/3", "/proc/self/fd/3", "/etc/passwd", "/etc/passwd\0.csv")
    for scheme in (
        "file://",
        "file:",
        "file://localhost",
        "FILE:///",
        "zip://",
        "s3://b/",
        "http://",
    ):
        yield f"{scheme}{absolute}"
    yield from (
        f"C:{windows}",
        f"c:/{inside}",
        f"\\\\server\\share{windows}",
        f"//server/share/{inside}",
    )
    yield from (
        f"\\\\?\\C:{windows}",
        f"\\\\.\\C:{windows}",
        "\\\\.\\pipe\\x",
        "\\??\\C:\\boot.ini",
    )
    for device in DEVICES:
        yield from (device, f"../{device}", f"{device}.", f"{device} ", f"x/{device}")
    for end in (
        ".",
        " ",
        "...",
        ". .",
        "\0",
        "%00",
        "%20",
        "::$DATA",
        ":stream",
        "\0.csv",
        "%00.png",
    ):
        yield from (f"{absolute}{end}", f"../{canary.name}{end}", f"{canary.name}{end}")
    yield from ("~", "~root/.bashrc", "$HOME", "${HOME}", "%USERPROFILE%", "`id`", "$(id)", "|id")
    yield from (".", "..", "/", "\\", "./", "//", "...", "....", "\0", "%00", "%", "%2", "%zz", "*")
    yield from ("a" * 256, "a" * 5000, "a/" * 2000 + "b", "../" * 4000 + inside, "\ud800", "\udcff")
    yield from (
        "-rf",
        "--help",
        "\r\nX-Injected: 1",
        "a\nb",
        "\u202etxt.exe",
        "\ufeff",
        "\x7f",
        "\x1b[2J",
    )
