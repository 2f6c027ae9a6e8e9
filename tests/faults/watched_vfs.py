"""A file system for SQLite that is watched: every write, truncation, sync and deletion passes through Python.

SQLite reaches its files through a table of functions, the VFS. This one is the default VFS of the library that
Python's own sqlite3 module has loaded, with the functions that change files replaced; what is done to a file is told
to a watcher, which may refuse it with one of SQLite's error codes. The shared memory beside a log is not watched: it
is no part of what a crash leaves behind. https://www.sqlite.org/c3ref/vfs.html has the layout of both tables.
"""

import _sqlite3
import contextlib
import ctypes
import functools
from ctypes import CFUNCTYPE, POINTER, c_int, c_int64, c_void_p

OK = 0
FULL = 13
IOERR_WRITE = 10 | 3 << 8
IOERR_FSYNC = 10 | 4 << 8
IOERR_TRUNCATE = 10 | 6 << 8

_VFS_METHODS = (
    "xOpen xDelete xAccess xFullPathname xDlOpen xDlError xDlSym xDlClose xRandomness xSleep xCurrentTime "
    "xGetLastError xCurrentTimeInt64 xSetSystemCall xGetSystemCall xNextSystemCall"
).split()
_FILE_METHODS = (
    "xClose xRead xWrite xTruncate xSync xFileSize xLock xUnlock xCheckReservedLock xFileControl xSectorSize "
    "xDeviceCharacteristics xShmMap xShmLock xShmBarrier xShmUnmap xFetch xUnfetch"
).split()

_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int), ("pNext", c_void_p), ("zName", c_void_p),
        ("pAppData", c_void_p), *[(name, c_void_p) for name in _VFS_METHODS],
    ]  # fmt: skip


class _FileMethods(ctypes.Structure):
    _fields_ = [("iVersion", c_int), *[(name, c_void_p) for name in _FILE_METHODS]]


class Watcher:
    """What is told of every change before it is made. Any answer but OK refuses the change, with that error."""

    def write(self, path, offset, data):
        return OK

    def truncate(self, path, size):
        return OK

    def sync(self, path):
        return OK

    def delete(self, path, is_durable):
        return OK


@functools.cache
def watched_vfs():
    """The VFS of this process. There is one, for ever: SQLite keeps pointers into it, and so do open files."""
    return WatchedVfs()


class WatchedVfs:
    """The VFS; see `watched_vfs`. Use `watching` to put it to work."""

    def __init__(self):
        self.watcher = Watcher()
        # A handle on the module finds the symbols of the library that the module is linked with.
        self._library = ctypes.CDLL(_sqlite3.__file__)
        self._library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._library.sqlite3_vfs_register.argtypes = [POINTER(_Vfs), c_int]
        self._original = self._library.sqlite3_vfs_find(None)
        self._paths = {}
        self._methods = {}
        self._name = ctypes.create_string_buffer(b"watched")
        self._vfs = _Vfs.from_buffer_copy(self._original.contents)
        self._vfs.zName = ctypes.addressof(self._name)
        self._callbacks = [
            self._replace(self._vfs, "xOpen", _OPEN, self._open),
            self._replace(self._vfs, "xDelete", _DELETE, self._delete),
        ]

    @contextlib.contextmanager
    def watching(self, watcher):
        """Every database that is opened meanwhile is watched, by this watcher and no other."""
        watcher_before, default_before = self.watcher, self._library.sqlite3_vfs_find(None)
        self.watcher = watcher
        self._library.sqlite3_vfs_register(self._vfs, 1)
        try:
            yield
        finally:
            self.watcher = watcher_before
            self._library.sqlite3_vfs_register(default_before, 1)

    def _replace(self, table, name, kind, function):
        """Put a function in the place of another, which it gets as its first argument."""
        original = kind(getattr(table, name))
        callback = kind(lambda *arguments: function(original, *arguments))
        setattr(table, name, ctypes.cast(callback, c_void_p).value)
        return callback

    def _open(self, original, vfs, name, file, flags, out_flags):
        code = original(vfs, name, file, flags, out_flags)
        if code == OK and name:
            self._paths[file] = ctypes.string_at(name).decode()
            table = c_void_p.from_address(file)  # The first member of a file is the pointer to its functions.
            table.value = self._watched_methods(table.value)
        return code

    def _watched_methods(self, address):
        if address not in self._methods:
            methods = _FileMethods.from_buffer_copy(_FileMethods.from_address(address))
            self._callbacks += [
                self._replace(methods, "xWrite", _WRITE, self._write),
                self._replace(methods, "xTruncate", _TRUNCATE, self._truncate),
                self._replace(methods, "xSync", _SYNC, self._sync),
            ]
            self._methods[address] = methods
        return ctypes.addressof(self._methods[address])

    def _write(self, original, file, data, amount, offset):
        code = self.watcher.write(self._paths[file], offset, ctypes.string_at(data, amount))
        if code == FULL:
            original(file, data, amount // 2, offset)  # A disk that is full takes what still fits.
        return code or original(file, data, amount, offset)

    def _truncate(self, original, file, size):
        return self.watcher.truncate(self._paths[file], size) or original(file, size)

    def _sync(self, original, file, flags):
        return self.watcher.sync(self._paths[file]) or original(file, flags)

    def _delete(self, original, vfs, name, is_durable):
        path = ctypes.string_at(name).decode()
        return self.watcher.delete(path, bool(is_durable)) or original(vfs, name, is_durable)
