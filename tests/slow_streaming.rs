//! A film is played and jumped in with FFmpeg while it comes from peers over narrow lines, and others download it.
//!
//! Makes a film of a few hundred MB, network namespaces, and takes minutes: only with PDTP_SLOW=1 (`make check-slow`),
//! as root, and with ffmpeg. How fast it is, bench/streaming.py measures; here it only has to be right.

#![cfg(target_os = "linux")]

#[path = "common/c.rs"]
pub mod c;
pub mod common;
#[path = "common/netns.rs"]
pub mod netns;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::*;
use netns::{Host, Net};

/// Seconds of film, at a MiB each.
const SECONDS: u32 = 220;
const RATE: u32 = 25;
const FILMS: [&str; 2] = ["film.mp4", "film.mkv"];
/// For what takes as long as the lines are narrow, on a machine that does other things, too.
const LONG: Duration = Duration::from_secs(600);

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn ffmpeg(args: &str) {
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-nostdin", "-y"]).args(args.split(' '));
    Proc::spawn(command).finish(LONG).expect(0);
}

/// A film with its index at the end (mp4), and the same as mkv.
fn make_films(dir: &Path) {
    let (mp4, mkv) = (dir.join("film.mp4"), dir.join("film.mkv"));
    ffmpeg(&format!(
        "-f lavfi -i testsrc2=size=1280x720:rate={RATE}:duration={SECONDS} -f lavfi -i sine=frequency=440:duration={SECONDS} \
         -c:v libx264 -preset ultrafast -x264-params nal-hrd=cbr -b:v 8M -minrate 8M -maxrate 8M -bufsize 8M -g 50 \
         -c:a aac -shortest {}",
        mp4.display()
    ));
    ffmpeg(&format!("-i {} -c copy {}", mp4.display(), mkv.display()));
    assert!(mp4.metadata().unwrap().len() > 200_000_000, "{:?}", mp4.metadata());
}

/// The program in a namespace, with its output collected.
fn pdtp_on(host: &Host, args: &[&str]) -> Proc {
    host.start(env!("CARGO_BIN_EXE_pdtp"), args)
}

/// The checksum of each decoded frame of `from` seconds and a bit on, as FFmpeg's framemd5 gives it, without the time stamps
/// (which count from another place after a jump).
fn frames(run: Proc) -> Vec<String> {
    let text = run.finish(LONG).expect(0).text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

const DECODE: &[&str] = &["-loglevel", "error", "-nostdin"];

fn decoding(host: &Host, url: &str, from: u32, count: u32) -> Proc {
    let (from, count) = (from.to_string(), count.to_string());
    let args =
        [DECODE, &["-ss", &from, "-i", url, "-map", "0:v", "-frames:v", &count, "-f", "framemd5", "-"]]
            .concat();
    host.start("ffmpeg", &args)
}

#[test]
fn a_film_is_played_and_jumped_in_while_it_comes() {
    if std::env::var_os("PDTP_SLOW").is_none() {
        return skip("PDTP_SLOW is not set");
    }
    if !c::is_installed("ffmpeg") {
        return skip("ffmpeg is not installed");
    }
    let Some(mut net) = Net::new() else {
        return skip("no permission to make network namespaces, or no tbf");
    };
    let (served, here) = (scratch(), scratch());
    make_films(served.path());

    let origin = net.host();
    let state = here.path().join("state");
    let args = [
        "serve",
        served.path().to_str().unwrap(),
        "--listen",
        "0.0.0.0:6086",
        "--state",
        state.to_str().unwrap(),
    ];
    let server = origin.start(env!("CARGO_BIN_EXE_pdtpd"), &args);
    wait_until("it listens", PATIENCE, || server.stdout().contains("pdtp://"));
    let uri = |name: &str| format!("pdtp://{}/{name}", origin.address());

    origin.narrow(16, 100);
    // Peers that have both films from elsewhere: they verify what they have, and give it to others.
    let seeders: Vec<_> = (0..2)
        .map(|n| {
            let host = net.host();
            host.narrow(24, 50);
            let target = here.path().join(format!("seed{n}"));
            std::fs::create_dir(&target).unwrap();
            for name in FILMS {
                std::fs::copy(served.path().join(name), target.join(name)).unwrap();
            }
            let args =
                ["get", "-r", "--json", "--seed-for", "forever", &uri(""), "-o", target.to_str().unwrap()];
            pdtp_on(&host, &args)
        })
        .collect();
    for seeder in &seeders {
        wait_until("they have all of it", LONG, || seeder.stdout().contains("\"done\""));
    }
    // Others download both, for as long as the film is played: the lines are never idle.
    let bulk: Vec<_> = FILMS
        .into_iter()
        .map(|name| {
            let host = net.host();
            host.narrow(24, 50);
            let target = here.path().join(format!("bulk-{name}"));
            (pdtp_on(&host, &["get", "--json", &uri(name), "-o", target.to_str().unwrap()]), target, name)
        })
        .collect();
    for (proc, ..) in &bulk {
        wait_until("they are under way", LONG, || proc.stdout().contains("\"progress\""));
    }

    let player = net.host();
    player.narrow(10, 50);
    let gateway = pdtp_on(&player, &["stream", "--http", "0", "--json", &uri("")]);
    let mut base = String::new();
    wait_until("it listens", LONG, || {
        let said = gateway.stdout();
        let Some(line) = said.lines().find(|line| line.contains("\"listening\"") && line.ends_with('}'))
        else {
            return false;
        };
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        base = event["url"].as_str().unwrap().to_owned();
        true
    });
    let nobody = net.host();

    for name in FILMS {
        let url = format!("{base}{name}");
        let local = served.path().join(name);
        let local = local.to_str().unwrap();
        // What it is: for the mp4 that takes a look at its end.
        let args = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"];
        let probed = player.start("ffprobe", &[&args[..], &[&url]].concat()).finish(LONG).expect(0).text();
        let duration: f64 = probed.trim().parse().unwrap_or_else(|_| panic!("{probed}"));
        assert!((duration - f64::from(SECONDS)).abs() < 1.0, "{duration}");
        // Jumps, there and back, compared frame by frame with the file itself.
        for from in [0, 150, 30, 200, 90, 31] {
            let there = frames(decoding(&player, &url, from, 30));
            assert_eq!(there.len(), 30, "{name} at {from}");
            assert_eq!(there, frames(decoding(&nobody, local, from, 30)), "{name} at {from}");
        }
    }
    // Two players of one film at once, each somewhere else, for longer.
    let url = format!("{base}film.mp4");
    let one = decoding(&player, &url, 10, 20 * RATE);
    let two = decoding(&player, &url, 120, 20 * RATE);
    let local = served.path().join("film.mp4");
    for (proc, from) in [(one, 10), (two, 120)] {
        let there = frames(proc);
        assert_eq!(there.len(), 20 * RATE as usize);
        assert_eq!(there, frames(decoding(&nobody, local.to_str().unwrap(), from, 20 * RATE)), "at {from}");
    }
    // And all of it, to the last frame: every one decodes, and the bytes are those of the file.
    let whole = here.path().join("whole");
    let args = [DECODE, &["-xerror", "-i", &url, "-map", "0", "-f", "null", "-"]].concat();
    let run = player.start("ffmpeg", &args).finish(LONG).expect(0);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    let args = ["-s", "-f", "-o", whole.to_str().unwrap(), &url];
    player.start("curl", &args).finish(LONG).expect(0);
    assert_same_file(&local, &whole);

    gateway.signal(libc::SIGINT);
    let end = gateway.finish(PATIENCE).expect(130).event("stopped");
    let (origin, peers) = (end["from_origin"].as_u64().unwrap(), end["from_peers"].as_u64().unwrap());
    eprintln!("the player got {origin} bytes from the origin and {peers} from peers");
    assert!(peers > origin, "peers have three times the line of the origin: {end}");
    for (proc, target, name) in bulk {
        proc.finish(LONG).expect(0);
        assert_same_file(&served.path().join(name), &target);
    }
}
