//! Directories as people see them: in a real browser, without scripts, light and dark, wide and on a phone.
//!
//! Starts Chromium: only with PDTP_SLOW=1 (`make check-slow`), and where it and python3 are installed.

#![cfg(unix)]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::*;

/// A browser on a loaded machine.
const BROWSER_PATIENCE: Duration = Duration::from_secs(180);

/// Prints width, height, the colour of the corner, and how many of the pixels of the last column differ from it.
const LOOK: &str = r"
import struct, sys, zlib
data = open(sys.argv[1], 'rb').read()
at, body = 8, b''
while at < len(data):
    size, kind = struct.unpack('>I4s', data[at:at + 8])
    chunk = data[at + 8:at + 8 + size]
    if kind == b'IHDR':
        width, height, depth, colour = struct.unpack('>IIBB', chunk[:10])
    elif kind == b'IDAT':
        body += chunk
    at += size + 12
assert depth == 8 and colour in (2, 6)
step = 3 if colour == 2 else 4
raw, rows, before = zlib.decompress(body), [], bytearray(width * step)
for y in range(height):
    start = y * (width * step + 1)
    kind, line = raw[start], bytearray(raw[start + 1:start + 1 + width * step])
    for i in range(len(line)):
        a = line[i - step] if i >= step else 0
        b, c = before[i], before[i - step] if i >= step else 0
        p = a + b - c
        nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        line[i] = (line[i] + (0, a, b, (a + b) // 2, nearest)[kind]) & 255
    rows.append(line)
    before = line
corner = bytes(rows[0][:3])
edge = sum(bytes(row[-step:][:3]) != corner for row in rows)
ink = sum(bytes(row[x * step:x * step + 3]) != corner for row in rows for x in range(0, width, 7))
print(width, height, sum(corner) // 3, edge, ink)
";

struct Picture {
    size: (u32, u32),
    /// 0 = black, 255 = white.
    background: u32,
    /// Pixels at the right edge that are not background: something is cut off.
    edge: u32,
    /// Pixels that are not background, of a seventh of all.
    ink: u32,
}

fn skip() -> bool {
    let slow = std::env::var_os("PDTP_SLOW").is_some();
    let there = c::is_installed("chromium") && c::is_installed("python3");
    if !slow || !there {
        eprintln!("skipped: {}", if slow { "no chromium or python3" } else { "PDTP_SLOW is not set" });
    }
    !slow || !there
}

fn chromium(home: &Path, args: &[&str], url: &str) -> Run {
    let mut command = Command::new("chromium");
    command.env("HOME", home).args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    command.arg(format!("--user-data-dir={}", home.join("profile").display())).args(args).arg(url);
    Proc::spawn(command).finish(BROWSER_PATIENCE).expect(0)
}

fn picture(home: &Path, name: &str, size: (u32, u32), is_dark: bool, url: &str) -> Picture {
    let file = home.join(name);
    let mut args =
        vec![format!("--screenshot={}", file.display()), format!("--window-size={},{}", size.0, size.1)];
    if is_dark {
        // What a page is told of the system's preference.
        args.push("--blink-settings=preferredColorScheme=0".to_owned());
    } else {
        args.push("--blink-settings=preferredColorScheme=1".to_owned());
    }
    chromium(home, &args.iter().map(String::as_str).collect::<Vec<_>>(), url);
    let mut command = Command::new("python3");
    command.args(["-c", LOOK]).arg(&file);
    let seen = Proc::spawn(command).finish(BROWSER_PATIENCE).expect(0).text();
    let seen: Vec<u32> = seen.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Picture { size: (seen[0], seen[1]), background: seen[2], edge: seen[3], ink: seen[4] }
}

#[test]
fn a_directory_in_a_browser() {
    if skip() {
        return;
    }
    let hostile = [
        "<img src=x onerror=document.title='owned'>",
        "\"><script>document.title='owned'</script>",
        "javascript:alert(1)",
        "a name that is so long that no phone in the world is wide enough for it, whatever it does.tar.gz",
        &"x".repeat(200),
    ];
    let served = scratch();
    for name in hostile {
        make_file(served.path(), name, 5000);
    }
    make_file(served.path(), "music/song.ogg", 1 << 20);
    let (server, home) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let url = server.http("/");

    // What the browser made of it: the names are text, and nothing has run.
    let page = chromium(home.path(), &["--dump-dom"], &url).text();
    assert!(page.contains("<title>/ on 127.0.0.1</title>"), "{page}");
    assert!(page.contains("&lt;img src=x onerror="), "{page}");
    assert!(!page.contains("<img") && !page.contains("<script"), "{page}");
    assert_eq!(page.matches("<tr>").count(), hostile.len() + 2, "{page}");
    let sorted = chromium(home.path(), &["--dump-dom"], &format!("{url}music/?sort=-size")).text();
    assert!(sorted.contains("aria-sort=\"descending\""), "{sorted}");

    let wide = picture(home.path(), "wide.png", (1200, 800), false, &url);
    assert_eq!(wide.size, (1200, 800));
    assert!(wide.background > 230 && wide.ink > 500, "{} {}", wide.background, wide.ink);
    let dark = picture(home.path(), "dark.png", (1200, 800), true, &url);
    assert!(dark.background < 60 && dark.ink > 500, "{} {}", dark.background, dark.ink);
    // Chromium draws no window narrower than 500 pixels.
    let phone = picture(home.path(), "phone.png", (500, 900), false, &url);
    assert_eq!((phone.size, phone.edge), ((500, 900), 0), "nothing is cut off at the right");
    assert!(phone.ink > 500);
}
