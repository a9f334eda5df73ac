"""ctypes_append.py - the C library without a compiler: structs by hand, libpq of the same process.

Run by languages.sh: ctypes_append.py LIBOUTBOX CONNINFO TOPIC. What a binding in another language does:
it knows the layout of include/outbox.h and nothing else. Leaves one committed event of TOPIC, payload
"kept", after an append that was rolled back and one that was refused.
"""
import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p

OUTBOX_OK = 0
OUTBOX_EINVAL = -1
OUTBOX_ENOTXN = -2
CONNECTION_OK = 0


class Event(ctypes.Structure):
    """outbox_event; a struct that is shorter than the library's is that of an older header."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("topic", c_char_p),
        ("key", c_void_p),
        ("key_len", c_size_t),
        ("type", c_char_p),
        ("schema_version", c_int32),
        ("content_type", c_char_p),
        ("payload", c_void_p),
        ("payload_len", c_size_t),
        ("headers", c_void_p),
        ("n_headers", c_size_t),
        ("event_id", c_char_p),
        ("correlation_id", c_char_p),
        ("causation_id", c_char_p),
        ("traceparent", c_char_p),
        ("tracestate", c_char_p),
        ("available_at_us", c_int64),
        ("flags", c_uint32),
    ]


class Error(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("code", c_int32),
        ("flags", c_uint32),
        ("sqlstate", ctypes.c_char * 6),
        ("message", ctypes.c_char * 512),
    ]


outbox = ctypes.CDLL(sys.argv[1])
libpq = ctypes.CDLL("libpq.so.5")  # the one that liboutbox has loaded already
outbox.outbox_append.argtypes = [c_void_p, POINTER(Event), POINTER(Error)]
outbox.outbox_event_id_new.argtypes = [c_char_p]
outbox.outbox_version_string.restype = c_char_p
for name, result, arguments in [
    ("PQconnectdb", c_void_p, [c_char_p]),
    ("PQstatus", c_int, [c_void_p]),
    ("PQexec", c_void_p, [c_void_p, c_char_p]),
    ("PQcmdStatus", c_char_p, [c_void_p]),
    ("PQclear", None, [c_void_p]),
    ("PQfinish", None, [c_void_p]),
]:
    function = getattr(libpq, name)
    function.restype, function.argtypes = result, arguments


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r} instead of {wanted!r}")


def run(command):
    result = libpq.PQexec(conn, command)
    expect(command, libpq.PQcmdStatus(result), command)
    libpq.PQclear(result)


def append(topic, payload):
    """-> the code and the text of the error"""
    event = Event(struct_size=ctypes.sizeof(Event), topic=topic, type=b"test", schema_version=1)
    error = Error(struct_size=ctypes.sizeof(Error))
    event.payload = ctypes.cast(ctypes.c_char_p(payload), c_void_p)
    event.payload_len = len(payload)
    return outbox.outbox_append(conn, byref(event), byref(error)), error.message.decode()


conn = libpq.PQconnectdb(sys.argv[2].encode())
expect("PQstatus", libpq.PQstatus(conn), CONNECTION_OK)
topic = sys.argv[3].encode()

expect("an append without a transaction", append(topic, b"outside")[0], OUTBOX_ENOTXN)
run(b"BEGIN")
expect("an append", append(topic, b"taken back"), (OUTBOX_OK, ""))
run(b"ROLLBACK")
run(b"BEGIN")
code, text = append(b"not a topic", b"refused")
expect("an append to an impossible topic", code, OUTBOX_EINVAL)
if "topic" not in text:
    sys.exit(f"the text does not name the field: {text}")
expect("an append after a refusal", append(topic, b"kept"), (OUTBOX_OK, ""))
run(b"COMMIT")

event_id = ctypes.create_string_buffer(37)
expect("outbox_event_id_new", outbox.outbox_event_id_new(event_id), OUTBOX_OK)
expect("the length of an id", len(event_id.value), 36)
libpq.PQfinish(conn)
print(outbox.outbox_version_string().decode())
