//! The players that people have, with `pdtp stream --http`: mpv, VLC, GStreamer, and a browser. They play, jump there and back
//! while the film comes, and two do so at once.
//!
//! `slow_streaming.rs` has FFmpeg, frame by frame; here it is what each player makes of HTTP. Takes a minute: only with
//! PDTP_SLOW=1 (`make check-slow`), and each where it is installed.

#![cfg(unix)]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::*;

/// Seconds of film; a quarter of a MiB each.
const SECONDS: u32 = 60;
/// A player on a machine that does other things, too.
const LONG: Duration = Duration::from_secs(120);
/// Where to jump, in seconds.
const JUMPS: [f64; 4] = [40.0, 5.0, 55.0, 20.0];

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Whether to go on, with all of these programs there.
fn have(programs: &[&str]) -> bool {
    if std::env::var_os("PDTP_SLOW").is_none() {
        skip("PDTP_SLOW is not set");
        return false;
    }
    let missing = ["ffmpeg"].iter().chain(programs).find(|program| which(program).is_none());
    if let Some(program) = missing {
        skip(&format!("{program} is not installed"));
    }
    missing.is_none()
}

/// Where a program is. Some have no `--version`, or refuse it to root.
fn which(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A server with a film, and a gateway to it that gets it at a few times the speed of playing, so that most of it is not
/// there when somebody jumps.
struct Cinema {
    _server: Pdtpd,
    _films: tempfile::TempDir,
    gateway: Proc,
    base: String,
}

fn ffmpeg(args: &str) {
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-nostdin", "-y"]).args(args.split(' '));
    Proc::spawn(command).finish(LONG * 2).expect(0);
}

impl Cinema {
    /// `film.mp4` has its index at the end, as cameras leave it; `film.mkv` is the same.
    fn open() -> Self {
        let films = scratch();
        let (mp4, mkv) = (films.path().join("film.mp4"), films.path().join("film.mkv"));
        ffmpeg(&format!(
            "-f lavfi -i testsrc2=size=640x360:rate=25:duration={SECONDS} -f lavfi -i sine=frequency=440:duration={SECONDS} \
             -c:v libx264 -preset ultrafast -pix_fmt yuv420p -x264-params nal-hrd=cbr -b:v 2M -minrate 2M -maxrate 2M \
             -bufsize 2M -g 50 -c:a aac -shortest {}",
            mp4.display()
        ));
        ffmpeg(&format!("-i {} -c copy {}", mp4.display(), mkv.display()));
        assert!(mp4.metadata().unwrap().len() > 14_000_000);
        let server = Pdtpd::start(films.path(), &[] as &[&str]);
        let gateway = pdtp_start(&[
            "stream",
            "--http",
            "0",
            "--json",
            "--window",
            "2M",
            "--limit-down",
            "1M",
            &server.uri("/"),
        ]);
        let mut base = None;
        wait_until("the gateway listens", PATIENCE, || {
            let said = gateway.stdout();
            let line = said.lines().find(|line| line.contains("\"listening\"") && line.ends_with('}'));
            base = line.map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["url"].as_str().unwrap().to_owned()
            });
            base.is_some()
        });
        Self { _server: server, _films: films, gateway, base: base.unwrap() }
    }

    fn url(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// Bytes that came from the server in all.
    fn close(self) -> u64 {
        self.gateway.signal(libc::SIGINT);
        let end = self.gateway.finish(PATIENCE).expect(130).event("stopped");
        end["from_origin"].as_u64().unwrap()
    }
}

fn assert_near(what: &str, at: f64, wanted: f64) {
    // Players go to the key frame before, a second or two away, or play on meanwhile.
    assert!((at - wanted).abs() < 4.0, "{what} is at {at} and should be at {wanted}");
}

// -------------------------------------------------------------------------------------------------------- mpv

/// mpv, spoken to over its socket: one JSON value a line.
struct Mpv {
    proc: Proc,
    lines: BufReader<UnixStream>,
    _dir: tempfile::TempDir,
}

impl Mpv {
    fn start(url: &str) -> Self {
        let dir = scratch();
        let socket = dir.path().join("socket");
        let mut command = Command::new("mpv");
        // Its null sound output complains wherever mpv itself waits for data while it starts (mpv issue 13267).
        let levels = "--msg-level=all=warn,ao/null=fatal";
        command.args(["--no-config", "--vo=null", "--ao=null", levels]);
        command.arg(format!("--input-ipc-server={}", socket.display())).arg(url);
        let proc = Proc::spawn(command);
        let mut stream = None;
        wait_until("mpv listens", LONG, || {
            stream = UnixStream::connect(&socket).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self { proc, lines: BufReader::new(stream), _dir: dir }
    }

    fn next(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        assert_ne!(value["event"], "end-file", "mpv has given up: {value} {}", self.proc.stderr());
        value
    }

    fn say(&mut self, command: serde_json::Value) {
        writeln!(self.lines.get_mut(), "{}", serde_json::json!({ "command": command })).unwrap();
    }

    fn until(&mut self, event: &str) {
        while self.next()["event"] != event {}
    }

    fn number(&mut self, property: &str) -> f64 {
        self.say(serde_json::json!(["get_property", property]));
        loop {
            let answer = self.next();
            if answer["error"] == "success" && answer["data"].is_number() {
                return answer["data"].as_f64().unwrap();
            }
            assert!(answer["error"].is_null() || answer["error"] == "success", "{property}: {answer}");
        }
    }

    fn jump(&mut self, to: f64) {
        self.say(serde_json::json!(["seek", to, "absolute"]));
        self.until("seek");
        self.until("playback-restart");
        let at = self.number("time-pos");
        assert_near("mpv", at, to);
    }

    /// Waits until it has read ahead all that it wants to: to quit would break off a packet, of which it complains.
    fn rest(&mut self) {
        wait_until("mpv reads nothing", LONG, || {
            self.say(serde_json::json!(["get_property", "demuxer-cache-idle"]));
            loop {
                let answer = self.next();
                assert!(answer["error"].is_null() || answer["error"] == "success", "{answer}");
                if let Some(is_idle) = answer["data"].as_bool() {
                    return is_idle;
                }
            }
        });
    }

    fn quit(mut self) {
        self.rest();
        self.say(serde_json::json!(["quit"]));
        let run = self.proc.finish(LONG).expect(0);
        let complaints: Vec<_> =
            run.text().lines().filter(|line| !line.contains("[ipc_")).map(str::to_owned).collect();
        assert!(complaints.is_empty() && run.stderr.is_empty(), "{complaints:?} {}", run.stderr);
    }
}

#[test]
fn mpv_plays_and_jumps_alone_and_with_another() {
    if !have(&["mpv"]) {
        return;
    }
    let cinema = Cinema::open();
    let (mut one, mut two) = (Mpv::start(&cinema.url("film.mp4")), Mpv::start(&cinema.url("film.mkv")));
    for player in [&mut one, &mut two] {
        player.until("playback-restart");
        let duration = player.number("duration");
        assert!((duration - f64::from(SECONDS)).abs() < 1.0, "{duration}");
    }
    for (n, to) in JUMPS.into_iter().enumerate() {
        one.jump(to);
        two.jump(JUMPS[(n + 1) % JUMPS.len()]);
    }
    // It goes on from there.
    let before = one.number("time-pos");
    wait_until("it plays on", LONG, || one.number("time-pos") > before + 1.0);
    one.quit();
    two.quit();
    cinema.close();
}

// -------------------------------------------------------------------------------------------------------- VLC

/// VLC, which root may not run, with its command line on a socket.
struct Vlc {
    proc: Proc,
    stream: TcpStream,
    _home: tempfile::TempDir,
}

impl Vlc {
    fn start(url: &str) -> Self {
        let home = scratch();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let port = closed_port();
        // SAFETY: no argument, no failure.
        let is_root = unsafe { libc::geteuid() } == 0;
        let mut command = Command::new(if is_root { "runuser" } else { "env" });
        if is_root {
            command.args(["-u", "nobody", "--", "env"]);
        }
        command.arg(format!("HOME={}", home.path().display())).args(["cvlc", "--extraintf", "rc"]);
        command.arg(format!("--rc-host=127.0.0.1:{port}"));
        command.args(["--no-dbus", "--vout=dummy", "--aout=dummy", "--no-color", url]);
        let proc = Proc::spawn(command);
        let mut stream = None;
        wait_until("VLC listens", LONG, || {
            stream = TcpStream::connect(("127.0.0.1", port)).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { proc, stream, _home: home }
    }

    /// What it answers within a moment.
    fn ask(&mut self, command: &str) -> String {
        writeln!(self.stream, "{command}").unwrap();
        let (mut said, mut some) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = self.stream.read(&mut some) {
            said.extend_from_slice(&some[..length]);
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// The number in its answer, if there is one.
    fn number(&mut self, command: &str) -> Option<f64> {
        let said = self.ask(command);
        said.lines().rev().find_map(|line| line.trim_start_matches(['>', ' ']).trim().parse().ok())
    }

    fn jump(&mut self, to: f64) {
        self.ask(&format!("seek {to}"));
        let mut at = None;
        let deadline = Instant::now() + LONG;
        while !at.is_some_and(|at: f64| (at - to).abs() < 4.0) {
            assert!(
                Instant::now() < deadline,
                "VLC is at {at:?} and should be at {to}: {}",
                self.proc.stderr()
            );
            at = self.number("get_time");
        }
    }

    fn quit(mut self) {
        let _ = writeln!(self.stream, "shutdown");
        let run = self.proc.finish(LONG);
        for bad in ["http error", "stream error", "cannot seek", "http stream error", "main stream error"] {
            assert!(!run.stderr.contains(bad), "{}", run.stderr);
        }
    }
}

#[test]
fn vlc_plays_and_jumps_alone_and_with_another() {
    if !have(&["cvlc", "runuser"]) {
        return;
    }
    let cinema = Cinema::open();
    let (mut one, mut two) = (Vlc::start(&cinema.url("film.mp4")), Vlc::start(&cinema.url("film.mkv")));
    for player in [&mut one, &mut two] {
        wait_until("it plays", LONG, || player.number("get_time").is_some_and(|at| at >= 1.0));
        assert_eq!(player.number("get_length"), Some(f64::from(SECONDS)));
    }
    for (n, to) in JUMPS.into_iter().enumerate() {
        one.jump(to);
        two.jump(JUMPS[(n + 1) % JUMPS.len()]);
    }
    let before = one.number("get_time").unwrap();
    wait_until("it plays on", LONG, || one.number("get_time").is_some_and(|at| at > before));
    one.quit();
    two.quit();
    cinema.close();
}

// -------------------------------------------------------------------------------------------------- GStreamer

#[test]
fn gstreamer_plays_to_the_end() {
    if !have(&["gst-launch-1.0"]) {
        return;
    }
    let cinema = Cinema::open();
    for name in ["film.mp4", "film.mkv"] {
        let mut command = Command::new("gst-launch-1.0");
        command.args(["-q", "playbin", &format!("uri={}", cinema.url(name))]);
        command.args(["video-sink=fakesink sync=false", "audio-sink=fakesink sync=false"]);
        let run = Proc::spawn(command).finish(LONG).expect(0);
        assert!(!run.stderr.contains("ERROR"), "{}", run.stderr);
    }
    assert!(cinema.close() > 28_000_000, "all of both");
}

// --------------------------------------------------------------------------------------------------- a browser

/// Plays two films at once, jumps in both, and says how it went by fetching a picture.
const PAGE: &str = r#"<!doctype html><meta charset=utf-8><title>cinema</title>
<script>
const said = [];
const once = (video, what) => new Promise((good, bad) => {
    video.addEventListener(what, good, {once: true});
    video.addEventListener('error', () => bad(new Error(what + ': ' + (video.error && video.error.message))), {once: true});
});
const until = async (what, holds) => {
    while (!holds()) await new Promise(next => setTimeout(next, 50));
};
async function play(url, jumps) {
    const video = document.createElement('video');
    video.muted = true;
    video.preload = 'auto';
    video.src = url;
    document.documentElement.append(video);
    await once(video, 'loadedmetadata');
    said.push(['duration', video.duration], ['width', video.videoWidth]);
    await video.play();
    await until('it plays', () => video.currentTime > 0.5);
    for (const to of jumps) {
        const there = once(video, 'seeked');
        video.currentTime = to;
        await there;
        said.push(['jump', to, video.currentTime]);
        await until('it plays on', () => video.currentTime > to + 0.3);
    }
    if (video.error) throw new Error(video.error.message);
}
Promise.all([play('URL1', JUMPS), play('URL2', JUMPS.slice().reverse())])
    .then(() => said.push(['good']), error => said.push(['bad', String(error)]))
    .then(() => { new Image().src = '/said?' + encodeURIComponent(JSON.stringify(said)); });
</script>"#;

/// Serves the page until the browser has said how it went.
fn what_the_browser_says(listener: &TcpListener, page: &str) -> serde_json::Value {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut line = String::new();
        // Browsers open connections that they do not use.
        if BufReader::new(&stream).read_line(&mut line).unwrap_or(0) == 0 {
            continue;
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, body) = if target == "/" { ("200 OK", page) } else { ("404 Not Found", "") };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        if let Some(said) = target.strip_prefix("/said?") {
            let said = percent_encoding::percent_decode_str(said).decode_utf8().unwrap().into_owned();
            return serde_json::from_str(&said).unwrap();
        }
    }
}

fn chromium(home: &Path, url: &str) -> Proc {
    let mut command = Command::new("chromium");
    command.env("HOME", home).args(["--headless", "--no-sandbox", "--disable-gpu", "--mute-audio"]);
    command.arg("--autoplay-policy=no-user-gesture-required").arg("--remote-debugging-port=0");
    command.arg(format!("--user-data-dir={}", home.join("profile").display())).arg(url);
    Proc::spawn(command)
}

#[test]
fn a_browser_plays_two_films_and_jumps_in_them() {
    if !have(&["chromium"]) {
        return;
    }
    let cinema = Cinema::open();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let page = PAGE.replace("URL1", &cinema.url("film.mp4")).replace("URL2", &cinema.url("film.mp4?again"));
    let page = page.replace("JUMPS", &format!("{JUMPS:?}"));
    let home = scratch();
    let browser = chromium(home.path(), &format!("http://{}/", listener.local_addr().unwrap()));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(what_the_browser_says(&listener, &page)));
    let said =
        receiver.recv_timeout(LONG).unwrap_or_else(|_| panic!("it says nothing: {}", browser.stderr()));
    let said: Vec<_> = said.as_array().unwrap().iter().map(|one| one.as_array().unwrap().clone()).collect();
    assert!(said.iter().any(|one| one[0] == "good"), "{said:?}");
    let jumps: Vec<_> = said.iter().filter(|one| one[0] == "jump").collect();
    assert_eq!(jumps.len(), 2 * JUMPS.len(), "{said:?}");
    for jump in jumps {
        assert_near("the browser", jump[2].as_f64().unwrap(), jump[1].as_f64().unwrap());
    }
    for one in said.iter().filter(|one| one[0] == "duration") {
        assert!((one[1].as_f64().unwrap() - f64::from(SECONDS)).abs() < 1.0, "{said:?}");
    }
    drop(browser);
    cinema.close();
}
