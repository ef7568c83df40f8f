"""Reads the frozen vectors of sync/protocol/PROTOCOL.md by its byte tables alone.

A second decoder, which shares no code with the Rust one: every frame is taken apart into fields, put
together again and compared; ids and the chain are computed with a BLAKE3 of its own, signatures are
checked with an Ed25519 of its own (RFC 8032), and every refuse-* vector must be refused.
Standard library only. Usage: python3 read_wsync_vectors.py sync/protocol/PROTOCOL.md
"""

import hashlib
import struct
import sys

MAX_FRAGMENT, MIN_FRAGMENT = 1_044_480, 87


class Refused(Exception):
    """Bytes that are no frame."""


# --- BLAKE3 of at most one chunk (1,024 bytes), from the specification ---

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
COLUMNS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def rotate(word, by):
    return (word >> by | word << (32 - by)) & 0xFFFFFFFF


def compress(chain, block, length, flags):
    v = chain + IV[:4] + [0, 0, length, flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(COLUMNS):
            for word, (first, second) in ((block[2 * i], (16, 12)), (block[2 * i + 1], (8, 7))):
                v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
                v[d] = rotate(v[d] ^ v[a], first)
                v[c] = (v[c] + v[d]) & 0xFFFFFFFF
                v[b] = rotate(v[b] ^ v[c], second)
        block = [block[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3(data):
    assert len(data) <= 1024, "one chunk is all that the vectors need"
    chain = IV[:]
    blocks = [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        flags = (1 if index == 0 else 0) | (2 | 8 if last else 0)
        words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
        chain = compress(chain, words, len(block), flags)
    return struct.pack("<8I", *chain)


# --- Ed25519 verification, from RFC 8032 ---

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def recover_x(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - x2) % P:
        raise ValueError("no point")
    return P - x if x & 1 != sign else x


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    x = recover_x(y, sign)
    return (x, y, 1, x * y % P)


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, a):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, a)
        a, scalar = add(a, a), scalar >> 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def is_signed(key, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER
    left, right = times(s, BASE), add(point(r), times(h, point(key)))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    same_y = (left[1] * right[2] - right[1] * left[2]) % P == 0
    return s < ORDER and same_x and same_y


# --- Fields: each is (name, reader, writer). A reader takes (bytes, values so far) -> value, rest ---


def take(data, count):
    if len(data) < count:
        raise Refused("too short")
    return data[:count], data[count:]


def number(name, width, check=lambda value: True):
    def read(data, _):
        raw, rest = take(data, width)
        value = int.from_bytes(raw, "big")
        if not check(value):
            raise Refused(name)
        return value, rest
    return name, read, lambda value, _: value.to_bytes(width, "big")


def raw(name, width):
    return name, lambda data, _: take(data, width), lambda value, _: value


def below(bound):
    return lambda value: value < bound


def check_fragment(data, kinds):
    if not MIN_FRAGMENT <= len(data) <= MAX_FRAGMENT:
        raise Refused("fragment length")
    if data[0] != 1 or data[1] not in (1, 2) or data[2] not in kinds:
        raise Refused("fragment header")
    return data


def fragment(*kinds):
    return "fragment", lambda data, _: (check_fragment(data, kinds), b""), lambda value, _: value


def rest_bytes(name, low, high, unit=1):
    def read(data, _):
        if not low * unit <= len(data) <= high * unit or len(data) % unit:
            raise Refused(name)
        return data, b""
    return name, read, lambda value, _: value


def read_ranges(data, values):
    ranges, end = [], 0
    for _ in range(values["count"]):
        part, data = take(data, 16)
        first, behind = struct.unpack(">QQ", part)
        if first < end or behind <= first:
            raise Refused("supersedes")
        end = behind
        ranges.append((first, behind))
    return ranges, data


RANGES = ("supersedes", read_ranges, lambda value, _: b"".join(struct.pack(">QQ", *r) for r in value))


def read_token(data, values):
    if len(data) != values["token_len"]:
        raise Refused("token_len")
    return data, b""


def optional(name, flag, width):
    def read(data, values):
        return take(data, width) if values["flags"] & flag else (b"", data)
    return name, read, lambda value, _: value


def read_record(data, values):
    record, data = take(data, values["record_len"])
    return check_fragment(record, (3,)), data


def read_previous(data, values):
    if "flags" in values and bool(data) != bool(values["flags"] & 1):
        raise Refused("flags")
    return (check_fragment(data, (3,)) if data else b""), b""


RECORD = [number("record_len", 4, below(512 * 1024 + 1)),
          ("record", read_record, lambda value, _: value),
          ("previous_epoch", read_previous, lambda value, _: value)]
MAILBOX, SIGNATURE, BOOL = raw("mailbox", 16), raw("signature", 64), below(2)
CAPABILITIES = [number("cap_epoch", 4), raw("reader_key", 32), raw("writer_key", 32)]
NAMEPLATE, TOKEN, IDS = number("nameplate", 4), raw("token", 16), rest_bytes("ids", 1, 1024, 32)

REQUESTS = {
    0x01: ("hello", [number("min_version", 2), number("max_version", 2)]),
    0x02: ("open", [MAILBOX, number("role", 1, below(3)), number("cap_epoch", 4), SIGNATURE]),
    0x03: ("append", [MAILBOX, fragment(0)]),
    0x04: ("pack", [MAILBOX, number("count", 2, below(1025)), RANGES, fragment(1)]),
    0x05: ("read", [MAILBOX, number("from", 8), number("max_entries", 4, below(4097)), number("compact", 1, BOOL)]),
    0x06: ("follow", [MAILBOX, number("from", 8), number("compact", 1, BOOL)]),
    0x08: ("ctl-append", [MAILBOX, number("expect_index", 4), number("flags", 1, below(8)),
                          optional("policy", 4, 100), optional("rotation", 2, 132)] + RECORD),
    0x09: ("ctl-read", [MAILBOX, number("from", 4)]),
    0x0A: ("create", [raw("policy_key", 32)] + CAPABILITIES + [SIGNATURE, number("token_len", 1, below(65)),
                      ("token", read_token, lambda value, _: value)]),
    0x0C: ("drop", [MAILBOX, SIGNATURE]),
    0x0E: ("blob-put", [MAILBOX, fragment(2)]),
    0x0F: ("blob-get", [MAILBOX, raw("fragment_id", 32)]),
    0x10: ("has", [MAILBOX, IDS]),
    0x11: ("blob-forget", [MAILBOX, IDS]),
    0x12: ("rv-allocate", []),
    0x13: ("rv-claim", [NAMEPLATE]),
    0x14: ("rv-post", [NAMEPLATE, TOKEN, rest_bytes("body", 1, 2048)]),
    0x15: ("rv-next", [NAMEPLATE, TOKEN, number("index", 1)]),
    0x17: ("rv-burn", [NAMEPLATE, TOKEN]),
}
ANSWERS = {
    0x16: ("error", [number("code", 1, lambda code: 1 <= code <= 15), number("limit", 8), number("retry_after_ms", 4)]),
    0x41: ("hello-ack", [number("version", 2), number("max_fragment_bytes", 4), number("mailbox_quota_bytes", 8),
                         number("time_ms", 8)]),
    0x42: ("opened", [number("access", 1, below(2)), number("next", 8), raw("chain", 32), number("ctl_next", 4),
                      number("used_bytes", 8), number("quota_bytes", 8)]),
    0x43: ("ack", [number("offset", 8), raw("chain", 32)]),
    0x44: ("ok", []),
    0x45: ("entry", [number("offset", 8), number("superseded", 1, BOOL), fragment(0, 1)]),
    0x48: ("ctl-ack", [number("index", 4)]),
    0x49: ("ctl-entry", [number("index", 4)] + RECORD),
    0x4F: ("blob", [fragment(2)]),
    0x50: ("has-bits", [rest_bytes("bits", 1, 128)]),
    0x52: ("rv-place", [NAMEPLATE, TOKEN]),
    0x53: ("rv-message", [rest_bytes("body", 1, 2048)]),
    0x54: ("rv-waiting", []),
    0x55: ("end", [number("next", 8), number("log_end", 8), raw("chain", 32), number("ctl_next", 4),
                   number("sessions", 2)]),
    0x59: ("ctl-end", [number("next", 4)]),
}


def decode(data, table):
    head, body = take(data, 5)
    length, kind = struct.unpack(">IB", head)
    if kind not in table:
        raise Refused(f"type {kind:#04x}")
    if length != len(body) + 1:
        raise Refused("length")
    name, fields = table[kind]
    values = {}
    for field, read, _ in fields:
        values[field], body = read(body, values)
    if body:
        raise Refused("bytes are left")
    if name == "hello" and values["max_version"] < values["min_version"]:
        raise Refused("max_version")
    if name == "end" and values["log_end"] < values["next"]:
        raise Refused("log_end")
    return kind, name, values


def encode(kind, table, values):
    body = b"".join(write(values[field], values) for field, _, write in table[kind][1])
    return struct.pack(">IB", len(body) + 1, kind) + body


def frames_read_and_write_alike(vectors):
    decoded = {}
    for name, data in vectors.items():
        table = REQUESTS if data[4:5] and data[4] in REQUESTS else ANSWERS
        if name.removesuffix("-all") not in {known for known, _ in list(REQUESTS.values()) + list(ANSWERS.values())}:
            continue
        kind, found, values = decode(data, table)
        assert name.removesuffix("-all") == found, (name, found)
        assert encode(kind, table, values) == data, name
        decoded[name] = values
    return decoded


def signatures_hold(vectors, decoded):
    create, opened, both = decoded["create"], decoded["open"], decoded["ctl-append-all"]
    mailbox, binding = vectors["mailbox"], b"\xb0" * 32
    assert blake3(create["policy_key"])[:16] == mailbox, "the mailbox is the hash of its policy key"
    rotation, policy = both["rotation"], both["policy"]
    capabilities = create["cap_epoch"].to_bytes(4, "big") + create["reader_key"] + create["writer_key"]
    token = bytes([create["token_len"]]) + create["token"]
    role = bytes([opened["role"]]) + opened["cap_epoch"].to_bytes(4, "big")
    signed = {
        "create": (b"wsync/1 create\n" + binding + mailbox + capabilities + token, create["policy_key"], create["signature"]),
        "open": (b"wsync/1 open\n" + binding + mailbox + role, create["reader_key"], opened["signature"]),
        "capabilities": (b"wsync/1 capabilities\n" + mailbox + rotation[:68], policy[4:36], rotation[68:]),
        "policy": (b"wsync/1 policy\n" + mailbox + policy[:36], create["policy_key"], policy[36:]),
        "drop": (b"wsync/1 drop\n" + binding + mailbox, create["policy_key"], decoded["drop"]["signature"]),
    }
    for name, (message, key, signature) in signed.items():
        assert vectors["message-" + name] == message, name
        assert is_signed(key, message, signature), name
        assert not is_signed(key, message + b"x", signature), name
    return len(signed)


def refused(vectors):
    names = [name for name in vectors if name.startswith("refuse-")]
    for name in names:
        try:
            decode(vectors[name], REQUESTS)
        except Refused:
            continue
        raise AssertionError(f"{name} was accepted")
    return len(names)


def main(path):
    with open(path, encoding="utf-8") as file:
        block = file.read().split("```vectors\n")[1].split("```")[0]
    vectors = {name: bytes.fromhex(text) for name, text in (line.split(" ") for line in block.splitlines())}
    decoded = frames_read_and_write_alike(vectors)
    whole = vectors["fragment"]
    assert decoded["append"]["fragment"] == whole
    assert blake3(whole) == vectors["fragment-id"], "fragment id"
    link = bytes(32) + (0).to_bytes(8, "big") + len(whole).to_bytes(8, "big") + vectors["fragment-id"]
    assert blake3(link) == vectors["chain-after-first"], "chain"
    signatures = signatures_hold(vectors, decoded)
    print(f"{len(decoded)} frames, {signatures} signatures, {refused(vectors)} refusals: all as written")


if __name__ == "__main__":
    main(sys.argv[1])
