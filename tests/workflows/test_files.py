import logging
import os
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sam3.errors import ImageError
from napari_sam3.workflows.files import (
    LABEL_SUFFIXES,
    check_label_path,
    open_image,
    save_labels,
    save_picture,
    save_text,
)
from napari_sam3.workflows.label_files import open_labels

GRAY = (np.arange(35 * 50) * 37 % 251).astype(np.uint8).reshape(35, 50)
RGB = np.dstack([GRAY, GRAY[::-1], GRAY[:, ::-1]])
STACK = (np.arange(3 * 4 * 20 * 30) % 60000).astype(np.uint16).reshape(3, 4, 20, 30)


@pytest.fixture
def saved_tiff(tmp_path):
    def save(array, name="image.tif", **options):
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tifffile.imwrite(path, array, **options)
        return path

    return save


@pytest.fixture
def saved_npy(tmp_path):
    def save(array):
        path = tmp_path / "image.npy"
        np.save(path, array)
        return path

    return save


class TestTiff:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.bool_])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_gray_keeps_its_type_and_values(self, saved_tiff, dtype, compression):
        image = (GRAY % 7).astype(dtype)
        opened = open_image(saved_tiff(image, compression=compression))
        assert opened.dtype == dtype
        np.testing.assert_array_equal(opened, image)

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_rgb_is_told_by_the_files_own_axes(self, saved_tiff, compression):
        path = saved_tiff(RGB, photometric="rgb", compression=compression)
        np.testing.assert_array_equal(open_image(path), RGB)

    def test_colours_stored_one_after_the_other_come_last(self, saved_tiff):
        path = saved_tiff(
            np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate", compression="zlib"
        )
        np.testing.assert_array_equal(open_image(path), RGB)

    @pytest.mark.parametrize(
        "options",
        [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True, "compression": "zlib"}],
    )
    def test_a_plane_of_a_stack_is_chosen_by_its_indices(self, saved_tiff, options):
        name = "image.ome.tif" if "ome" in options else "image.tif"
        path = saved_tiff(STACK, name, metadata={"axes": "TZYX"}, **options)
        np.testing.assert_array_equal(open_image(path, (2, 1)), STACK[2, 1])

    def test_only_the_chosen_plane_is_decoded(self, saved_tiff, monkeypatch):
        path = saved_tiff(
            STACK, compression="zlib", metadata={"axes": "TZYX"}, photometric="minisblack"
        )
        decoded = []
        asarray = tifffile.TiffPage.asarray

        def counted(self, *args, **kwargs):
            decoded.append(self.index)
            return asarray(self, *args, **kwargs)

        monkeypatch.setattr(tifffile.TiffPage, "asarray", counted)
        monkeypatch.setattr(tifffile.TiffFrame, "asarray", counted)
        np.testing.assert_array_equal(open_image(path, (2, 1)), STACK[2, 1])
        assert decoded == [9]

    def test_a_plane_of_an_rgb_stack_is_rgb(self, saved_tiff):
        stack = np.stack([RGB, 255 - RGB])
        path = saved_tiff(stack, photometric="rgb", compression="zlib")
        np.testing.assert_array_equal(open_image(path, (1,)), 255 - RGB)

    def test_without_a_plane_the_sentence_names_the_axes_and_the_option(self, saved_tiff):
        path = saved_tiff(STACK, metadata={"axes": "TZYX"})
        with pytest.raises(ImageError) as refused:
            open_image(path)
        assert str(refused.value) == (
            "The image has the axes T=3, Z=4, Y, X: choose a plane by 2 numbers, counted "
            "from 0, e.g. --plane 1,2."
        )

    @pytest.mark.parametrize("plane", [(1,), (1, 1, 1), ()])
    def test_too_few_or_many_indices_are_refused(self, saved_tiff, plane):
        path = saved_tiff(STACK, metadata={"axes": "TZYX"})
        with pytest.raises(
            ImageError, match=rf"--plane has {len(plane)}: choose a plane by 2 numbers"
        ):
            open_image(path, plane)

    @pytest.mark.parametrize("plane", [(3, 0), (0, 4), (-1, 0)])
    def test_a_plane_that_is_not_there_is_refused(self, saved_tiff, plane):
        path = saved_tiff(STACK, metadata={"axes": "TZYX"})
        with pytest.raises(ImageError, match="it has the planes 0 to"):
            open_image(path, plane)

    def test_axes_of_length_one_need_no_index_but_may_have_one(self, saved_tiff):
        path = saved_tiff(STACK[:, :1], metadata={"axes": "TZYX"})
        np.testing.assert_array_equal(open_image(path, (2,)), STACK[2, 0])
        single = saved_tiff(STACK[:1, :1], "single.tif", metadata={"axes": "TZYX"})
        np.testing.assert_array_equal(open_image(single), STACK[0, 0])

    def test_a_plane_of_a_single_picture_is_refused(self, saved_tiff):
        with pytest.raises(ImageError, match="leave --plane out"):
            open_image(saved_tiff(GRAY), (0,))

    def test_rows_and_columns_need_not_be_the_last_axes(self, saved_tiff):
        moved = np.moveaxis(STACK[0], 0, 2)
        path = saved_tiff(moved, metadata={"axes": "YXZ"}, photometric="minisblack")
        np.testing.assert_array_equal(open_image(path, (3,)), STACK[0, 3])

    def test_two_samples_per_pixel_are_channels_and_not_colours(self, saved_tiff):
        two = np.dstack([GRAY, 250 - GRAY])
        path = saved_tiff(two, photometric="minisblack", planarconfig="contig", metadata=None)
        np.testing.assert_array_equal(open_image(path, (1,)), 250 - GRAY)

    def test_a_plane_left_out_of_an_ome_file_is_black(self, saved_tiff):
        path = saved_tiff(
            STACK[:2, 0], "image.ome.tif", metadata={"axes": "TYX"}, compression="zlib"
        )
        content = path.read_bytes()
        assert content.count(b'SizeT="2"') == 1
        path.write_bytes(content.replace(b'SizeT="2"', b'SizeT="3"'))
        assert not open_image(path, (2,)).any()
        np.testing.assert_array_equal(open_image(path, (1,)), STACK[1, 0])

    def test_axes_without_rows_and_columns_are_taken_in_order(self, saved_tiff):
        path = saved_tiff(STACK[0], metadata={"axes": "ZCT"}, photometric="minisblack")
        np.testing.assert_array_equal(open_image(path, (2,)), STACK[0, 2])

    @pytest.mark.parametrize("keep", [9, 60, 700])
    def test_a_damaged_file_is_refused_with_a_sentence(self, saved_tiff, keep):
        path = saved_tiff(STACK, compression="zlib", metadata={"axes": "TZYX"})
        path.write_bytes(path.read_bytes()[:keep])
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        with pytest.raises(ImageError, match=r"image\.tif"):
            open_image(path, (2, 3))

    def test_damaged_pixels_are_refused_with_a_sentence(self, saved_tiff):
        path = saved_tiff(GRAY, compression="zlib")
        with tifffile.TiffFile(path) as tiff:
            offset = tiff.pages[0].dataoffsets[0]
        content = bytearray(path.read_bytes())
        content[offset : offset + 20] = bytes(20)
        path.write_bytes(content)
        with pytest.raises(ImageError, match=r"image\.tif is damaged"):
            open_image(path)


class TestPillowFormats:
    @pytest.mark.parametrize("suffix", ["png", "bmp"])
    @pytest.mark.parametrize("image", [GRAY, RGB], ids=["gray", "rgb"])
    def test_pixels_come_back_as_saved(self, tmp_path, suffix, image):
        path = tmp_path / f"image.{suffix}"
        Image.fromarray(image).save(path)
        np.testing.assert_array_equal(open_image(path), image)

    def test_jpeg_is_about_what_was_saved(self, tmp_path):
        smooth = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
        Image.fromarray(smooth).save(tmp_path / "image.jpg", quality=95)
        assert np.abs(open_image(tmp_path / "image.jpg").astype(int) - smooth).max() < 8

    def test_16_bit_png_keeps_its_values(self, tmp_path):
        image = STACK[0, 0] * 13
        Image.fromarray(image).save(tmp_path / "image.png")
        opened = open_image(tmp_path / "image.png")
        assert opened.dtype.itemsize >= 2
        np.testing.assert_array_equal(opened, image)

    def test_1_bit_png_is_a_mask(self, tmp_path):
        Image.fromarray(GRAY > 100).save(tmp_path / "image.png")
        np.testing.assert_array_equal(open_image(tmp_path / "image.png") > 0, GRAY > 100)

    def test_a_palette_becomes_its_colours(self, tmp_path):
        indices = Image.new("P", (50, 35))
        indices.putdata((GRAY % 3).ravel().tolist())
        indices.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        indices.save(tmp_path / "image.png")
        opened = open_image(tmp_path / "image.png")
        assert opened.shape == (35, 50, 3)
        assert opened[0, 1].tolist() == [10 + 30 * int(GRAY[0, 1] % 3) + i * 10 for i in range(3)]

    def test_alpha_is_kept_whatever_the_colours(self, tmp_path):
        rgba = np.dstack([RGB, GRAY])
        Image.fromarray(rgba).save(tmp_path / "rgba.png")
        np.testing.assert_array_equal(open_image(tmp_path / "rgba.png"), rgba)
        Image.merge("LA", [Image.fromarray(GRAY)] * 2).save(tmp_path / "la.png")
        opened = open_image(tmp_path / "la.png")
        np.testing.assert_array_equal(opened, np.dstack([GRAY] * 4))

    def test_a_frame_of_several_must_be_chosen(self, tmp_path):
        frames = [Image.fromarray(GRAY), Image.fromarray(GRAY[::-1].copy())]
        path = tmp_path / "image.png"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match="frame=2, Y, X: choose a plane by one number"):
            open_image(path)
        np.testing.assert_array_equal(np.atleast_3d(open_image(path, (1,)))[..., 0], GRAY[::-1])

    def test_an_image_cut_off_in_the_middle_is_refused(self, tmp_path):
        path = tmp_path / "image.png"
        Image.fromarray(RGB).save(path)
        path.write_bytes(path.read_bytes()[:-400])
        with pytest.raises(ImageError, match=r"image\.png is damaged"):
            open_image(path)


class TestNpy:
    def test_a_plane_is_gray(self, saved_npy):
        np.testing.assert_array_equal(open_image(saved_npy(GRAY)), GRAY)

    def test_three_or_four_entries_at_the_end_are_colours(self, saved_npy):
        np.testing.assert_array_equal(open_image(saved_npy(RGB)), RGB)

    def test_a_narrow_stack_is_one_if_planes_are_counted(self, saved_npy):
        narrow = np.arange(10 * 64 * 4).reshape(10, 64, 4)
        np.testing.assert_array_equal(open_image(saved_npy(narrow), (7,)), narrow[7])

    def test_planes_of_a_stack_are_chosen_in_its_order(self, saved_npy):
        np.testing.assert_array_equal(open_image(saved_npy(STACK), (2, 3)), STACK[2, 3])
        with pytest.raises(ImageError, match=r"axis 0=3, axis 1=4, Y, X: .* --plane 1,2"):
            open_image(saved_npy(STACK))

    def test_a_row_of_numbers_is_no_picture(self, saved_npy):
        with pytest.raises(ImageError, match="no picture"):
            open_image(saved_npy(np.arange(9)))

    def test_an_empty_array_is_no_picture(self, saved_npy):
        with pytest.raises(ImageError, match="no picture"):
            open_image(saved_npy(np.zeros((0, 7))))

    def test_code_in_a_file_is_never_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.system, ("exit 1",)

        path = tmp_path / "image.npy"
        np.save(path, np.array([Trap()], object), allow_pickle=True)
        with pytest.raises(ImageError, match="damaged or of an unknown kind"):
            open_image(path)


class TestWhatIsNoImage:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(ImageError, match=r"There is no file .*gone\.tif"):
            open_image(tmp_path / "gone.tif")

    def test_a_folder(self, tmp_path):
        with pytest.raises(ImageError, match="is a folder"):
            open_image(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello, this is no image"])
    def test_another_file(self, tmp_path, content):
        path = tmp_path / "notes.tif"
        path.write_bytes(content)
        with pytest.raises(ImageError, match="not an image that can be read"):
            open_image(path)

    def test_a_file_that_may_not_be_read(self, tmp_path, monkeypatch):
        path = tmp_path / "image.tif"
        path.touch()

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(type(path), "open", refuse)
        with pytest.raises(ImageError, match="cannot be read: Permission denied"):
            open_image(path)


class TestSaveLabels:
    @pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
    def test_labels_come_back_as_saved(self, tmp_path, suffix):
        labels = STACK[0, 0].astype(np.int64)
        path = tmp_path / f"labels{suffix}"
        save_labels(path, labels)
        opened = open_image(path)
        np.testing.assert_array_equal(opened, labels)

    def test_tiff_labels_are_compressed_and_16_bit_while_that_is_enough(self, tmp_path):
        save_labels(tmp_path / "a.tif", np.full((300, 200), 65535, np.int32))
        save_labels(tmp_path / "b.tif", np.full((300, 200), 65536, np.int32))
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            assert tiff.pages[0].dtype == np.uint16
            assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert open_image(tmp_path / "b.tif").dtype == np.uint32

    def test_a_png_refuses_labels_that_it_cannot_hold(self, tmp_path):
        with pytest.raises(ImageError, match=r"up to 65535.*\.tif"):
            save_labels(tmp_path / "labels.png", np.full((2, 3), 70000))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["labels.jpg", "labels"])
    def test_other_formats_are_refused_and_the_known_ones_named(self, tmp_path, name):
        with pytest.raises(ImageError, match=r"\.tif, \.tiff, \.png or \.npy"):
            save_labels(tmp_path / name, GRAY)
        with pytest.raises(ImageError, match=r"\.tif, \.tiff, \.png or \.npy"):
            check_label_path(tmp_path / name)

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(ImageError, match=r"There is no folder .*gone"):
            save_labels(tmp_path / "gone" / "labels.tif", GRAY)

    def test_a_folder_is_no_file_to_save(self, tmp_path):
        (tmp_path / "labels.tif").mkdir()
        with pytest.raises(ImageError, match="is a folder"):
            check_label_path(tmp_path / "labels.tif")

    def test_a_save_that_fails_leaves_the_old_file_whole_and_nothing_else(
        self, tmp_path, monkeypatch
    ):
        path = tmp_path / "labels.tif"
        path.write_bytes(b"old")

        def fill_the_disk(file, *args, **kwargs):
            file.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tifffile, "imwrite", fill_the_disk)
        with pytest.raises(ImageError, match="cannot be written: No space left"):
            save_labels(path, GRAY)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_an_existing_file_is_replaced(self, tmp_path):
        path = tmp_path / "labels.npy"
        save_labels(path, GRAY)
        save_labels(path, GRAY[:3])
        assert open_image(path).shape == (3, 50)


class TestPictures:
    def test_a_picture_can_be_saved(self, tmp_path):
        save_picture(tmp_path / "shown.png", RGB)
        np.testing.assert_array_equal(open_image(tmp_path / "shown.png"), RGB)


class TestLabelsOfAnyDimension:
    @pytest.mark.parametrize("suffix", [".tif", ".npy"])
    @pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (2, 3, 40, 3), (4, 1, 5, 7), (1, 5, 4)])
    def test_are_saved_and_opened_as_they_are(self, tmp_path, suffix, shape):
        labels = np.arange(np.prod(shape)).reshape(shape)
        save_labels(tmp_path / f"x{suffix}", labels)
        opened = open_labels(tmp_path / f"x{suffix}")
        assert opened.dtype == np.uint16
        np.testing.assert_array_equal(opened, labels)

    def test_a_png_holds_one_plane(self, tmp_path):
        with pytest.raises(ImageError, match="one plane"):
            save_labels(tmp_path / "x.png", np.zeros((3, 5, 7), int))
        save_labels(tmp_path / "x.png", np.full((5, 7), 300))
        assert open_labels(tmp_path / "x.png").max() == 300

    @pytest.mark.parametrize(("value", "words"), [(-1, "down to -1"), (1 << 40, "up to 1099")])
    def test_what_a_label_image_cannot_hold_is_refused(self, tmp_path, value, words):
        with pytest.raises(ImageError, match=words):
            save_labels(tmp_path / "x.tif", np.full((5, 7), value))
        assert list(tmp_path.iterdir()) == []

    def test_a_picture_is_no_label_image(self, tmp_path):
        np.save(tmp_path / "x.npy", np.full((5, 7), 0.25))
        with pytest.raises(ImageError, match=r"holds no labels: it has values such as 0\.25"):
            open_labels(tmp_path / "x.npy")

    @pytest.mark.parametrize("start", [b"II*\0", b"\x93NUMPY", b"no image"])
    def test_a_damaged_file_is_refused_with_a_sentence(self, tmp_path, start):
        (tmp_path / "x.tif").write_bytes(start + b"abc")
        with pytest.raises(ImageError, match=r"x\.tif"):
            open_labels(tmp_path / "x.tif")

    @pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
    def test_who_may_read_a_file_stays_as_it_was_when_it_is_saved_again(self, tmp_path, mode):
        path = tmp_path / "x.json"
        path.write_text("old")
        path.chmod(mode)
        (tmp_path / "link.json").symlink_to(path)
        save_text(tmp_path / "link.json", "new")
        assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)
        # and of a new one it is as with any program
        before = os.umask(0o027)
        try:
            save_text(tmp_path / "y.json", "new")
        finally:
            os.umask(before)
        assert (tmp_path / "y.json").stat().st_mode & 0o777 == 0o640

    def test_a_text_is_written_whole_or_not_at_all(self, tmp_path):
        save_text(tmp_path / "x.json", "“é”")
        assert (tmp_path / "x.json").read_text("utf-8") == "“é”"
        with pytest.raises(ImageError, match="no folder"):
            save_text(tmp_path / "no" / "x.json", "")
