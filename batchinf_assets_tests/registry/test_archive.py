import io
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.tree import DecisionTreeClassifier

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.archive import ArchiveLimits, read_archive

LIMITS = ArchiveLimits()
MiB = 2**20
TREE = DecisionTreeClassifier().fit(np.arange(20.0).reshape(-1, 2), np.arange(10) % 2)


class ExplosivePickle:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def archive(*members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def array(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


SCHEMA = ("schema.json", b"{}")
NUMBERS = ("1.npy", array(np.arange(50.0)))


def refused(data, reason, match, limits=LIMITS):
    with pytest.raises(ModelRefused, match=match) as caught:
        read_archive(data, limits)
    assert caught.value.reason is reason


def declared(data, size):
    """Let both headers of the first member declare another inflated size."""
    changed = bytearray(data)
    struct.pack_into("<L", changed, 22, size)
    struct.pack_into("<L", changed, data.index(b"PK\x01\x02") + 24, size)
    return bytes(changed)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_skops_writes_is_read(compression):
    data = skops.io.dumps(TREE, compression=compression)
    found = read_archive(data, LIMITS)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert found.schema == file.read("schema.json")
        assert {**found.sizes} == {
            entry.filename: entry.file_size
            for entry in file.infolist()
            if entry.filename != "schema.json"
        }


def test_equal_arrays_have_equal_digests():
    found = read_archive(archive(SCHEMA, NUMBERS, ("2.npy", NUMBERS[1])), LIMITS)
    assert found.digests["1.npy"] == found.digests["2.npy"]


def test_a_member_that_holds_more_than_it_declares_is_refused_before_it_is_inflated_whole():
    bomb = declared(archive(("1.npy", array(np.zeros(4 * MiB))), SCHEMA), 1000)
    tracemalloc.start()
    refused(bomb, Refusal.OVERSIZED_MEMBER, "more in '1.npy' than the 1000 bytes")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2 * MiB  # of 32


def test_a_member_that_holds_less_than_it_declares_is_refused():
    short = declared(archive(NUMBERS, SCHEMA), 600)
    refused(short, Refusal.UNREADABLE, r"damaged at '1\.npy'")


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        (ArchiveLimits(archive_bytes=100), "bytes, more than 100"),
        (ArchiveLimits(member_bytes=500), "'1.npy', more than 500"),
        (ArchiveLimits(schema_bytes=1), "'schema.json', more than 1"),
        (ArchiveLimits(total_bytes=529), "530 bytes inflated, more than 529"),
        (ArchiveLimits(members=1), "2 members, more than 1"),
    ],
)
def test_each_limit_is_held(limits, match):
    data = archive(NUMBERS, SCHEMA)
    read_archive(data, ArchiveLimits(member_bytes=528, total_bytes=530, members=2, schema_bytes=2))
    refused(data, Refusal.OVERSIZED_MEMBER, match, limits)


def test_an_archive_that_inflates_too_well_is_refused():
    data = archive(SCHEMA, ("1.npy", array(np.zeros(MiB))))
    assert len(data) < 8 * MiB / 500
    refused(data, Refusal.OVERSIZED_MEMBER, "bytes inflated, more than")


def test_a_damaged_member_is_refused():
    data = bytearray(archive(NUMBERS, SCHEMA, compression=zipfile.ZIP_STORED))
    data[300] ^= 1
    refused(bytes(data), Refusal.UNREADABLE, r"damaged at '1\.npy'")


@pytest.mark.parametrize("cut", [1, 22, 60])
def test_a_shortened_archive_is_refused(cut):
    refused(archive(NUMBERS, SCHEMA)[:-cut], Refusal.UNREADABLE, "does not end as|no zip archive")


@pytest.mark.parametrize(
    "name",
    ["../1.npy", "/1.npy", "a/1.npy", "a\\1.npy", "1.npz", "1.bin", "1.npy\x1b", "schema.JSON"],
)
def test_other_members_are_refused(name):
    with pytest.raises(ModelRefused, match="neither its schema nor an array") as caught:
        read_archive(archive(SCHEMA, (name, NUMBERS[1])), LIMITS)
    assert str(caught.value).isprintable()


def test_two_members_of_the_same_name_are_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        data = archive(SCHEMA, NUMBERS, NUMBERS)
    refused(data, Refusal.UNREADABLE, "two members of the same name")


def test_an_archive_without_a_schema_is_refused():
    refused(archive(NUMBERS), Refusal.UNREADABLE, r"has no schema\.json")


@pytest.mark.parametrize("offset", [4, 6, 8, 10, 12, 14, 18, 22, 26, 28, 30])
def test_a_local_header_that_contradicts_the_directory_is_refused(offset):
    data = bytearray(archive(NUMBERS, SCHEMA))
    data[offset] ^= 1
    refused(bytes(data), Refusal.UNREADABLE, "two different things|in two ways")


@pytest.mark.parametrize("flag", [0x1, 0x8, 0x20, 0x40, 0x800])
def test_flags_such_as_encryption_are_refused_though_both_headers_agree(flag):
    data = bytearray(archive(NUMBERS, SCHEMA))
    struct.pack_into("<H", data, 6, flag)
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 8, flag)
    refused(bytes(data), Refusal.UNREADABLE, "two different things|directory")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(compression):
    data = archive(NUMBERS, SCHEMA, compression=compression)
    refused(data, Refusal.UNREADABLE, "two different things")


def test_members_that_overlap_are_refused():
    """Both entries of the directory point at one member: the core of the densest zip bombs."""
    data = bytearray(archive(NUMBERS, ("2.npy", NUMBERS[1]), SCHEMA))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    struct.pack_into("<L", data, second + 42, 0)
    refused(bytes(data), Refusal.UNREADABLE, "belong to no member")


def test_bytes_between_members_are_refused():
    data = archive(NUMBERS, SCHEMA)
    start = data.index(b"PK\x01\x02")
    hidden = bytearray(data[:start] + b"hidden" + data[start:])
    struct.pack_into("<L", hidden, len(hidden) - 6, start + 6)
    with zipfile.ZipFile(io.BytesIO(hidden)) as file:
        assert file.testzip() is None
    refused(bytes(hidden), Refusal.UNREADABLE, "before its directory")


def test_bytes_before_the_first_member_are_refused():
    refused(b"PK\x03\x04" + archive(NUMBERS, SCHEMA), Refusal.UNREADABLE, "directory and its end")


def test_bytes_after_the_archive_are_refused():
    refused(archive(NUMBERS, SCHEMA) + b"more", Refusal.UNREADABLE, "does not end as")


def test_a_comment_is_refused():
    buffer = io.BytesIO(archive(NUMBERS, SCHEMA))
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = b"PK\x05\x06" + bytes(18)
    refused(buffer.getvalue(), Refusal.UNREADABLE, "plain zip archive|directory")


def test_a_second_directory_behind_a_zip64_locator_is_refused():
    data = archive(NUMBERS, SCHEMA)
    locator = b"PK\x06\x07" + bytes(16)
    end = bytearray(data[-22:])
    struct.pack_into("<L", end, 12, struct.unpack_from("<L", end, 12)[0] + len(locator))
    refused(data[:-22] + locator + bytes(end), Refusal.UNREADABLE, "plain zip archive")


def test_a_directory_of_another_length_is_refused():
    data = bytearray(archive(NUMBERS, SCHEMA))
    struct.pack_into("<HH", data, len(data) - 14, 3, 3)
    refused(bytes(data), Refusal.UNREADABLE, "lists 2 members but announces 3")


def test_an_array_of_objects_is_refused_and_never_runs(tmp_path):
    canary = tmp_path / "canary"
    hostile = array(np.array([ExplosivePickle(canary)], dtype=object))
    np.load(io.BytesIO(hostile), allow_pickle=True)
    assert canary.exists(), "the canary is dead: this test would prove nothing"
    canary.unlink()
    refused(archive(SCHEMA, ("1.npy", hostile)), Refusal.PICKLE, "holds Python objects")
    assert not canary.exists()


def test_a_record_with_an_object_inside_is_refused():
    values = np.zeros(3, dtype=[("number", "f8"), ("thing", "O")])
    refused(archive(SCHEMA, ("1.npy", array(values))), Refusal.PICKLE, "holds Python objects")


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(51,)", "(49,)", "(-50,)", "(-1, -50)"])
def test_an_array_that_announces_another_shape_is_refused(shape):
    """Numpy would allocate what the header says before it reads."""
    hostile = NUMBERS[1].replace(b"(50,), }".ljust(len(shape) + 3), f"{shape}, }}".encode())
    assert len(hostile) == len(NUMBERS[1])
    refused(archive(SCHEMA, ("1.npy", hostile)), Refusal.UNREADABLE, "shape for '1.npy'")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x03\x00" + NUMBERS[1][8:],
        NUMBERS[1].replace(b"'<f8'", b"[[[[["),
        NUMBERS[1].replace(b"'<f8'", b"'<xx'"),
        pickle.dumps([1, 2, 3]),
        archive(NUMBERS),
    ],
)
def test_a_member_that_is_no_array_is_refused(content):
    refused(archive(SCHEMA, ("1.npy", content)), Refusal.UNREADABLE, "which is no array")


def test_every_changed_byte_is_refused_or_changes_nothing():
    """Of the modification time and the version, nothing that is read depends."""
    data = archive(NUMBERS, SCHEMA)
    whole = read_archive(data, LIMITS)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        try:
            found = read_archive(bytes(changed), LIMITS)
        except ModelRefused:
            continue
        assert found == whole, place


def test_a_deflated_stream_with_bytes_behind_its_end_is_refused():
    stream = zlib.compressobj(wbits=-15)
    content = stream.compress(NUMBERS[1]) + stream.flush() + b"hidden"
    data = bytearray(archive(("1.npy", content), SCHEMA, compression=zipfile.ZIP_STORED))
    directory = data.index(b"PK\x01\x02", len(content))
    for method, checksum, size in ((8, 14, 22), (directory + 10, directory + 16, directory + 24)):
        struct.pack_into("<H", data, method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<L", data, checksum, zlib.crc32(NUMBERS[1]))
        struct.pack_into("<L", data, size, len(NUMBERS[1]))
    refused(bytes(data), Refusal.UNREADABLE, r"damaged at '1\.npy'")
