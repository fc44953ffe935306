"""One BitTorrent client: libtorrent, driven by lines on standard input. Run inside the host's namespace.

    bt.py make FILE TORRENT PIECE_SIZE      writes a .torrent
    bt.py run TORRENT DIR PORT SETTINGS     prints "ready"; then takes
        go PEER…      adds the torrent and connects to those (ADDR:PORT); "done MONOTONIC" is printed when it is complete

Settings are JSON for libtorrent's settings_pack; "super" and "stay" are ours: super-seeding, and whether to go on giving.
"""

import json
import sys
import threading
import time

import libtorrent as lt


def make(file, torrent, piece_size):
    storage = lt.file_storage()
    lt.add_files(storage, file)
    # Without padding and hashes of version 2: smaller metadata, as the swarms of today have it.
    creator = lt.create_torrent(storage, piece_size, lt.create_torrent.v1_only)
    lt.set_piece_hashes(creator, file.rsplit("/", 1)[0])
    with open(torrent, "wb") as f:
        f.write(lt.bencode(creator.generate()))


def run(torrent, directory, port, settings):
    is_super, stay = settings.pop("super", False), settings.pop("stay", True)
    pack = {
        "listen_interfaces": f"0.0.0.0:{port}",
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "alert_mask": lt.alert.category_t.status_notification,
        "connections_limit": 500, "allow_multiple_connections_per_ip": True,
    }
    session = lt.session({**pack, **settings})
    info = lt.torrent_info(torrent)
    print("ready", flush=True)
    words = sys.stdin.readline().split()
    if words[:1] != ["go"]:
        return
    params = lt.add_torrent_params()
    params.ti, params.save_path = info, directory
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if is_super:
        params.flags |= lt.torrent_flags.super_seeding
    handle = session.add_torrent(params)

    def introduce():
        for word in words[1:]:
            host, number = word.rsplit(":", 1)
            handle.connect_peer((host, int(number)))

    introduce()

    def listen():
        # Later lines name peers that have come since; the end of the input is the end of this.
        for line in sys.stdin:
            for word in line.split():
                host, number = word.rsplit(":", 1)
                handle.connect_peer((host, int(number)))
        session.pause()
        sys.stdout.flush()
        import os
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            if isinstance(alert, (lt.torrent_finished_alert,)) and handle.status().is_seeding:
                print("done", time.monotonic(), flush=True)
                if not stay:
                    return


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        run(sys.argv[2], sys.argv[3], int(sys.argv[4]), json.loads(sys.argv[5]))
