"""What a server's processes have used, read from /proc: processor time and memory."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a process; ``pss`` counts shared pages in part only, and is 0 where it cannot be read."""

    rss: int
    pss: int


def tree(pid: int) -> list[int]:
    """``pid`` and all processes below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def commands(pid: int) -> dict[int, list[str]]:
    """The words that ``pid`` and each process below it was started with; none of a process that ends meanwhile."""
    return {each: text.split("\0") for each in tree(pid) if (text := _read(each, "cmdline"))}


def cpu_seconds(pid: int) -> float:
    """Processor time, user and system, that ``pid``, the processes below it and those that ended there have taken."""
    stats = [fields for each in tree(pid) if (fields := _stat(each))]
    return sum(int(ticks) for fields in stats for ticks in fields[11:15]) / _TICKS


def stubs(pid: int) -> dict[str, int]:
    """The process of each Python model of the Triton server ``pid``, by the model's name; of its first instance."""
    found: dict[str, int] = {}
    for each, words in commands(pid).items():
        if Path(words[0]).name == _STUB:
            model = next((Path(word).parts[-3] for word in words[1:] if word.endswith("/model.py")), None)
            if model is not None:
                found.setdefault(model, each)
    return found


def memory(pid: int) -> Memory:
    rss, pss = (_kilobytes(_read(pid, file), name) for file, name in (("status", "VmRSS"), ("smaps_rollup", "Pss")))
    return Memory(rss * 1024, pss * 1024)


def _kilobytes(text: str, name: str) -> int:
    line = next((line for line in text.splitlines() if line.startswith(f"{name}:")), "0 0")
    return int(line.split()[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the program's name, the state first; none of a process that is gone."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
