"""A program whose input names an attack. The tests copy it into artifacts as program.py.

Each attack returns what it could do: `attempt` gives the name of the exception, or ESCAPED.
"""

import atexit
import builtins
import contextlib
import ctypes
import json
import os
import pickle
import platform
import signal
import socket
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
LIBC = ctypes.CDLL(None, use_errno=True)
COLUMN = {"x86_64": 0, "aarch64": 1}[platform.machine()]
CALLS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "umount2": (166, 39),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "memfd_create": (319, 279),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "sched_setaffinity": (203, 122),
    "personality": (135, 92),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "clone3": (435, 435),
    "clone": (56, 220),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "open_by_handle_at": (304, 265),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "seccomp": (317, 277),
    "prctl": (157, 167),
    "setrlimit": (160, 164),
    "setpriority": (141, 140),
    "timer_create": (222, 107),
    "setsid": (112, 157),
    "setuid": (105, 146),
    "capset": (126, 91),
    "socketpair": (53, 199),
    "socket": (41, 198),
    "mlock": (149, 228),
    "sync": (162, 81),
    "truncate": (76, 45),
    "fchmodat": (268, 53),
    "unlinkat": (263, 35),
    "renameat2": (316, 276),
    "symlinkat": (266, 36),
    "mkdirat": (258, 34),
    "utimensat": (280, 88),
    "flock": (73, 32),
    "fsync": (74, 82),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "landlock_create_ruleset": (444, 444),
    "modify_ldt": (154, None),
    "vfork": (58, None),
    "future": (1000, 1000),
}


def attempt(function, *arguments):
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001
        return type(error).__name__
    return "ESCAPED"


def syscall(name, *arguments):
    number = CALLS[name][COLUMN]
    if number is None:
        raise PermissionError
    if LIBC.syscall(ctypes.c_long(number), *arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def sockets(_):
    families = {
        "TCP": (socket.AF_INET, socket.SOCK_STREAM),
        "TCP6": (socket.AF_INET6, socket.SOCK_STREAM),
        "UDP": (socket.AF_INET, socket.SOCK_DGRAM),
        "Unix": (socket.AF_UNIX, socket.SOCK_STREAM),
        "netlink": (16, socket.SOCK_RAW),
        "raw": (socket.AF_INET, socket.SOCK_RAW),
        "packet": (17, socket.SOCK_RAW),
        "vsock": (40, socket.SOCK_STREAM),
        "alg": (38, 5),
    }
    return {name: attempt(socket.socket, *kind) for name, kind in families.items()}


def system_calls(_):
    return {name: attempt(syscall, name, 0, 0, 0, 0, 0, 0) for name in CALLS}


def read_secret(given):
    return [attempt(open, given["secret"]), attempt(os.open, given["secret"], os.O_RDONLY)]


def read_system_files(_):
    names = (
        "/etc/passwd",
        "/etc/shadow",
        "/root/.bashrc",
        "/proc/self/environ",
        "/proc/1/cmdline",
        "/proc/self/mem",
        "/sys/kernel/notes",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/null",
        "/dev/urandom",
        "/dev/tty",
        "/dev/shm",
    )
    return {name: attempt(open, name, "rb") for name in names}


def list_folders(given):
    names = (str(Path(given["secret"]).parent), "/proc", "/home", "/tmp", "/dev", "/sys", "/var")

    readable = [HERE, *map(Path, sys.path), Path(sys.modules["loomgit"].__file__)]
    parts = {part for path in readable for part in path.parts}

    def list_others(name):
        if not {path.name for path in Path(name).iterdir()} - parts:
            raise PermissionError("only the folders above those that a program may read")

    return {name: attempt(list_others, name) for name in names}


def read_loom(given):
    folder = f"/proc/{given['loom']}"
    return {name: attempt(open, f"{folder}/{name}", "rb") for name in ("environ", "mem", "maps")}


def environment(_):
    return dict(os.environ)


def write_artifact(_):
    path = HERE / "data.json"
    attempts = {
        "write": lambda: path.write_text("changed"),
        "append": lambda: path.open("a"),
        "truncate while reading": lambda: os.open(path, os.O_RDONLY | os.O_TRUNC),
        "create": (HERE / "new").touch,
        "replace": lambda: path.replace(HERE / "other"),
        "remove": path.unlink,
        "mode": lambda: path.chmod(0o777),
        "times": lambda: os.utime(path),
        "truncate": lambda: os.truncate(path, 0),
        "link": lambda: os.link(path, HERE / "link"),
        "symlink": lambda: (HERE / "link").symlink_to(path),
        "folder": (HERE / "folder").mkdir,
        "attribute": lambda: os.setxattr(path, "user.a", b"b"),
        "temporary file": lambda: os.open(HERE, os.O_TMPFILE | os.O_RDWR),
        "named pipe": lambda: os.mkfifo(HERE / "fifo"),
    }
    return {name: attempt(function) for name, function in attempts.items()}


def write_shared(given):
    path = Path(given["shared"])
    return [path.read_text(), attempt(path.write_text, "changed"), attempt(path.unlink)]


def write_elsewhere(given):
    folder = Path(given["secret"]).parent
    return [
        attempt((path / "new").write_text, "x")
        for path in (folder, Path("/tmp"), Path("/"), Path("/dev/shm"))
    ]


def follow_symlinks(_):
    return [
        attempt((HERE / "to-secret").read_text),
        attempt((HERE / "to-folder/secret.txt").read_text),
        attempt((HERE / "to-folder" / ".." / "secret.txt").read_text),
    ]


def processes(_):
    def clone():
        syscall("clone", signal.SIGCHLD, 0, 0, 0, 0)

    def clone_thread():  # raw, with a stack of its own
        syscall("clone", 0x00010F00, 0, 0, 0, 0)

    import subprocess

    return {
        "fork": attempt(os.fork),
        "forkpty": attempt(os.forkpty),
        "clone": attempt(clone),
        "clone a thread": attempt(clone_thread),
        "posix_spawn": attempt(os.posix_spawn, "/bin/true", ["true"], {}),
        "execve": attempt(os.execv, sys.executable, [sys.executable, "-c", "pass"]),
        "subprocess": attempt(subprocess.run, ["/bin/true"]),
        "system": "ESCAPED" if os.system("true") == 0 else "refused",
    }


def memfd_execve(_):
    return [attempt(os.memfd_create, "x"), attempt(os.execve, 0, ["x"], {})]


def threads(_):
    def start():
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

    return [attempt(start) for _ in range(50)]


def signals(given):
    loom = given["loom"]
    return {
        "Loom": attempt(os.kill, loom, signal.SIGKILL),
        "parent": attempt(os.kill, os.getppid(), signal.SIGKILL),
        "group": attempt(os.killpg, 0, signal.SIGKILL),
        "all": attempt(os.kill, -1, signal.SIGKILL),
        "by a descriptor": attempt(os.pidfd_open, loom),
        "by the owner of a pipe": attempt(own_pipe, loom),
    }


def own_pipe(loom):
    import fcntl

    fcntl.fcntl(1, fcntl.F_SETOWN, loom)
    fcntl.fcntl(1, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(1, fcntl.F_SETFL, os.O_ASYNC)


def limits(_):
    import resource

    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    names = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
    return [attempt(resource.setrlimit, name, unlimited) for name in names]


def pickled_code(_):
    class Bomb:
        def __reduce__(self):
            return os.system, ("touch /tmp/loom-pickle-escaped",)

    class Reader:
        def __reduce__(self):
            return open, ("/etc/passwd",)

    return [pickle.loads(pickle.dumps(Bomb())) != 0, attempt(pickle.loads, pickle.dumps(Reader()))]


def shared_memory(_):
    from multiprocessing import shared_memory as memory

    return [attempt(memory.SharedMemory, "loom", True, 100)]


def many_descriptors(_):
    kept = []

    def open_all():
        while len(kept) < 10_000:
            kept.append(os.dup(1))

    try:
        return attempt(open_all)
    finally:
        for descriptor in kept:
            os.close(descriptor)


def flood_streams(_):
    line = "x" * 1000 + "\n"
    for _ in range(5000):
        sys.stdout.write(line)
        sys.stderr.write(line)
        os.write(1, line.encode())
    return "written"


def recurse(_):
    return recurse(_)


def overflow_stack(_):
    """Recursion in C: newer versions of Python refuse it."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**9)
    try:
        value = []
        for _ in range(10**6):
            value = [value]
        return repr(value)
    finally:
        sys.setrecursionlimit(limit)


def crash(_):
    ctypes.string_at(0)


def abort(_):
    os.abort()


def exit_python(_):
    sys.exit("bye")


def exit_process(_):
    os._exit(0)


def loop(_):
    while True:
        pass


def sleep(_):
    time.sleep(3600)


def loop_in_finally(_):
    try:
        return 1
    finally:
        while True:
            pass


def catch_everything(_):
    for number in range(1, 64):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.01)


def memory(_):
    kept = []
    while True:
        kept.append(bytearray(10_000_000))


def memory_in_one_piece(_):
    return len("x" * 10**12)


def memory_mapped(_):
    import mmap

    return [mmap.mmap(-1, 10_000_000) for _ in range(1000)]


def close_descriptors(_):
    os.closerange(0, 100)
    return "closed"


def close_and_loop(_):
    os.closerange(0, 100)
    while True:
        pass


def find_pipes():
    """The descriptors that a worker has besides the first three."""
    found = []
    for number in range(3, 64):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


def write_pipes(content):
    for number in find_pipes():
        with contextlib.suppress(OSError):
            os.write(number, content)


def flood_pipe(_):
    while True:
        write_pipes(b"x" * 65536)


def forge_replies(_):
    from loomgit.sandbox.messages import render_reply

    for number in range(2, 200):
        write_pipes(render_reply(number, 0, b'"forged"'))
    return "real"


def forge_outputs(_):
    """Replies to the first input of a worker that are no JSON, or strange JSON."""
    from loomgit.sandbox.messages import render_reply

    texts = (b"[" * 500_000, b"NaN", b"\xff\xfe", b'{"a": 1, "a": 2}', b"1" * 5000, b"",
             b"[" * 300 + b"]" * 300)  # fmt: skip
    write_pipes(b"".join(render_reply(2 + at, 0, text) for at, text in enumerate(texts)))
    time.sleep(3600)


def forge_large_reply(_):
    write_pipes((2**32 - 1).to_bytes(4, "big") + (2).to_bytes(4, "big") + bytes(9))
    return "real"


def forge_number(_):
    from loomgit.sandbox.messages import render_reply

    write_pipes(render_reply(10**6, 0, b'"forged"'))
    return "real"


def forge_and_spin(_):
    """Reply to the first input of a worker, and never end."""
    from loomgit.sandbox.messages import render_reply

    write_pipes(render_reply(2, 0, b'"forged"'))
    while True:
        pass


class Liar:
    __class__ = dict

    def __len__(self):
        return 1

    def __iter__(self):
        return iter(["a"])

    def __getitem__(self, key):
        return "b"

    def keys(self):
        return ["a"]

    def items(self):
        return [("a", "b")]

    def __reduce__(self):
        return os._exit, (1,)


class LyingDict(dict):
    def items(self):
        while True:
            pass

    def __iter__(self):
        os._exit(1)

    def __len__(self):
        return -1  # noqa: PLE0303


class LyingText(str):
    def __str__(self):
        return "lie"

    def __len__(self):
        return 10**9

    def encode(self, *_):
        os._exit(1)


class LyingNumber(int):
    def __repr__(self):
        return '"], forged'

    def __le__(self, other):
        return True

    __ge__ = __lt__ = __gt__ = __le__


def lying_object(_):
    return Liar()


def lying_containers(_):
    return LyingDict(a=[LyingText("truth"), LyingNumber(5)])


def not_a_number(_):
    return {"a": [float("nan")]}


def infinite(_):
    return float("-inf")


def huge_integer(_):
    return 10**5000


def lying_huge_integer(_):
    return LyingNumber(2**70)


def number_as_key(_):
    return {1: "a"}


def same_key_twice(_):
    class Key(str):
        def __hash__(self):
            return id(self)

        def __eq__(self, other):
            return self is other

    return {Key("a"): 1, Key("a"): 2}


def cycle(_):
    value = []
    value.append(value)
    return value


def many_laughs(_):
    value = ["ha"]
    for _ in range(100):
        value = [value, value]
    return value


def raw_bytes(_):
    return b"abc"


def surrogate(_):
    return "\ud800"


def large_output(_):
    return "x" * 2_000_000


def hostile_exception(_):
    class Hostile(Exception):
        def __str__(self):
            os.write(1, b"x")
            raise ValueError("no")

    raise Hostile


def exception_with_controls(_):
    raise ValueError("a\x1b[2Jb\r\nc\u202ed" + "x" * 10_000)


def exception_group(_):
    raise BaseExceptionGroup("many", [KeyError("a"), SystemExit(1)])


def replace_builtins(_):
    for name in ("len", "isinstance", "issubclass", "str", "type", "BaseException", "open", "int"):
        setattr(builtins, name, lambda *_: 1 / 0)
    return "replaced"


def replace_modules(_):
    json.loads = json.dumps = lambda *_: 1 / 0
    os.write = os.read = os._exit = lambda *_: 1 / 0
    time.perf_counter = lambda: "no number"
    for name in list(sys.modules):
        del sys.modules[name]
    return "replaced"


def replace_time(_):
    for module in list(sys.modules.values()):
        if getattr(module, "_clock", None):
            module._clock = lambda: float("nan")
    return "replaced"


def exit_hooks(_):
    atexit.register(lambda: time.sleep(3600))
    atexit.register(lambda: Path("/tmp/loom-atexit-escaped").touch())
    sys.exit(0)


def leave_spinning_finalizer(_):
    class Spinner:
        def __del__(self):
            while True:
                pass

    builtins.kept = [Spinner()]
    return "left"


def execute(given):
    return "served" if given == "next" else globals()[given["attack"]](given)
