"""The guards in conftest.py guard."""

import socket
import urllib.request

import platformdirs
import pytest

OURS_ONLY = "this computer only"


def test_a_remote_address_cannot_be_reached():
    # a documentation address: were the guard off, nobody would be there either
    with socket.socket() as client, pytest.raises(RuntimeError, match=OURS_ONLY):
        client.connect(("192.0.2.1", 80))


def test_a_remote_name_is_not_even_looked_up():
    with pytest.raises(RuntimeError, match=OURS_ONLY):
        urllib.request.urlopen("http://example.invalid")


def test_this_computer_can_be_reached():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"here")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(4) == b"here"


def test_napari_keeps_the_settings_of_a_test_run_to_itself():
    from napari.settings import get_settings

    assert "napari-sam3-tests-" in str(get_settings().config_path)


@pytest.mark.skipif("sys.platform != 'linux'", reason="elsewhere the folders are not from XDG_*")
@pytest.mark.parametrize("folder", ["user_config_dir", "user_cache_dir", "user_data_dir"])
def test_no_test_writes_into_the_home_folder(folder):
    assert "napari-sam3-tests-" in getattr(platformdirs, folder)("napari-sam3")
