"""Places on S3 that know from one listing what is there: a look at thousands asks nothing more.

A listing tells sizes, times and entity tags. What is read is the version that was listed, or
refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from batchinf_assets.lake.place import Place
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_stat import S3Stat


@dataclass(frozen=True)
class Listing:
    """What was there below a place at one time.

    Attributes:
        objects: By key.
    """

    objects: Mapping[str, S3Stat]

    @cached_property
    def children(self) -> Mapping[str, Collection[str]]:
        """The keys directly below each folder, objects and folders."""
        found: dict[str, set[str]] = {}
        for key in self.objects:
            child = key
            while child:
                folder = child.rpartition("/")[0]
                below = found.setdefault(folder, set())
                if child in below:
                    break
                below.add(child)
                child = folder
        return found


@dataclass(frozen=True, kw_only=True)
class ListedPlace(S3Place):
    """A place of which it is known what was there, and below, when it was listed.

    Places above what was listed look empty.

    Attributes:
        listing: What was there.
    """

    listing: Listing = field(repr=False, compare=False)

    def stat(self) -> S3Stat:
        """Return size, time and version of the object as it was listed."""
        found = self.listing.objects.get(self.key)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return found

    def alone(self) -> ListedPlace:
        """Return the place without what is known of others, for whoever keeps it."""
        return replace(self, listing=Listing({self.key: self.stat()}))

    def objects_below(self) -> Iterator[tuple[str, S3Stat]]:
        """Yield the keys of the listed objects below, however deep, with what they are."""
        before = f"{self.key}/" if self.key else ""
        return (each for each in self.listing.objects.items() if each[0].startswith(before))

    def _children(self) -> Collection[str]:
        return self.listing.children.get(self.key, ())


def listed(folder: Place, below: str = "") -> Place:
    """List what is below a place on S3, a thousand objects with each request.

    Args:
        folder: The place; a local folder, or what was listed before, is returned as it is.
        below: The part of it that is listed, with slashes.

    Returns:
        The place; from it all others are reached that know what was listed.
    """
    if not isinstance(folder, S3Place) or isinstance(folder, ListedPlace):
        return folder
    listing = Listing(dict((folder / below).objects_below()))
    return ListedPlace(bucket=folder.bucket, key=folder.key, access=folder.access, listing=listing)
