"""Datasets in four IDX files that are known by name: the hash of their bytes, and their shape."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """The SHA-256 of the four files of a dataset, unpacked, in the order of its `PARTS`; and its extent."""

    sha256: tuple[str, ...]
    shape: tuple[int, ...] = (60000, 28, 28)
    test_images: int = 10000


KNOWN = {
    # 200 training and 50 test images of each class of MNIST, beside this file.
    "mnist_sample": Known(
        (
            "5742f398058fe36aaf1b8edb1051aa6ed96831e24fd15bf6ac80362ceb9942bc",
            "5845824a1405e379f337fe3db6e4fa8614766ce3767bbb4825466b35c5ac044b",
            "97ec3e530cd55441a2c634c869ee2db6ac4224e52db5b7b8f60743ac7c976ec7",
            "ff9110acc0bd87bce7a4ef183f1e00fcd66145d7f0db2ed8cd3aee4b1f6d5b03",
        ),
        (2000, 28, 28),
        500,
    ),
    "mnist": Known(
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": Known(
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}
