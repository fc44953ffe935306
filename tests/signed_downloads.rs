//! "A server you do not trust may schedule your transfers, never your content": a server swaps files, manifests, keys
//! and versions, and takes signatures away; a peer sends other bytes. Each is caught, and nothing wrong arrives.

pub mod common;
#[path = "common/evil.rs"]
mod evil;

use std::path::{Path, PathBuf};

use common::*;
use evil::Evil;
use serde_json::{Value, json};

const OLD: &[u8] = b"old content, which has a flaw that was mended\n";

/// What a client does in a place of its own.
struct World {
    served: tempfile::TempDir,
    keys: tempfile::TempDir,
    here: tempfile::TempDir,
    server: Option<Pdtpd>,
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 253 * 7) as u8).collect()
}

impl World {
    /// A tree with `/pub/file`, signed by Alice, and a client that has not seen anything yet.
    fn new() -> Self {
        let (served, keys, here) = (scratch(), scratch(), scratch());
        std::fs::create_dir(served.path().join("pub")).unwrap();
        let world = Self { served, keys, here, server: None };
        world.serve("pub/file", &noise(300_000));
        for name in ["alice", "mallory"] {
            pdtp_in(world.keys.path(), &["keygen", "--no-passphrase", name]).expect(0);
        }
        world.sign("alice", "/pub", "pub/file");
        world
    }

    fn serve(&self, name: &str, bytes: &[u8]) {
        // A new file, as publishers do it, and not new bytes in the old one.
        let (new, name) = (self.served.path().join(".new"), self.served.path().join(name));
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, name).unwrap();
    }

    fn start(&mut self) -> Evil {
        let server = Pdtpd::start(self.served.path(), &[""; 0]);
        let evil = Evil::before(server.port());
        self.server = Some(server);
        evil
    }

    fn key(&self, name: &str) -> String {
        self.keys.path().join(name).to_str().unwrap().to_owned()
    }

    fn sign(&self, who: &str, prefix: &str, name: &str) {
        let (key, file) = (self.key(who), self.served.path().join(name));
        let file = file.to_str().unwrap();
        pdtp(&["sign", "--key", &key, "--prefix", prefix, "--force", file]).expect(0);
    }

    fn sidecar(&self, name: &str) -> PathBuf {
        self.served.path().join(format!("{name}.pdtpsig"))
    }

    fn fingerprint(&self, who: &str) -> String {
        let text = pdtp(&["fingerprint", &self.key(&format!("{who}.pub"))]).expect(0).text();
        text.split(' ').next().unwrap().to_owned()
    }

    fn trust_file(&self) -> PathBuf {
        self.here.path().join("trust")
    }

    /// A line as it would have been written when the key was accepted once.
    fn trust(&self, who: &str, port: u16) {
        let line =
            format!("127.0.0.1:{port}/pub ed25519 {} 2026-01-01T00:00:00Z Alice\n", self.fingerprint(who));
        std::fs::write(self.trust_file(), line).unwrap();
    }

    fn run(&self, command: &str, uri: &str, more: &[&str]) -> Run {
        let trust = self.trust_file();
        let args = [&[command, "--timeout", "20", "--trust", trust.to_str().unwrap(), uri], more].concat();
        pdtp_in(self.here.path(), &args)
    }

    fn local(&self) -> PathBuf {
        self.here.path().join("file")
    }

    /// Neither `get` nor `cat` take it, for this reason; and what was there before is as it was.
    fn is_refused(&self, uri: &str, code: i32, why: &str) {
        let good = b"what was good before";
        std::fs::write(self.local(), good).unwrap();
        let run = self.run("get", uri, &[]).expect(code);
        assert!(run.stderr.contains(why), "{}", run.stderr);
        assert_eq!(std::fs::read(self.local()).unwrap(), good, "a good file is not overwritten");
        std::fs::remove_file(self.local()).unwrap();
        let run = self.run("cat", uri, &[]).expect(code);
        assert_eq!(run.text(), "", "not a byte reaches the application");
        let left: Vec<_> =
            std::fs::read_dir(self.here.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name == "file" || name == "file.part"), "{left:?}");
    }
}

fn signature<'a>(kind: &str, members: &'a mut Value) -> Option<&'a mut Value> {
    (kind == "tell_info").then(|| members.pointer_mut("/signatures/0")).flatten()
}

#[test]
fn who_signed_is_said_in_one_line_and_known_from_then_on() {
    let mut world = World::new();
    let evil = world.start();
    let uri = evil.uri("/pub/file");
    // An unknown key, and nobody to ask.
    world.is_refused(&uri, 10, "is signed with a key that is not known here");
    world.trust("alice", evil.port);
    let run = world.run("get", &uri, &[]).expect(0);
    let line = run.stderr.lines().find(|line| line.contains("is signed with a trusted key")).unwrap();
    for part in
        ["file is signed", "ed25519 ", &world.fingerprint("alice"), "(Alice)", "known since 2026-01-01"]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(std::fs::read(world.local()).unwrap(), noise(300_000));
    let run = world.run("get", &uri, &["--json", "-o", "again"]).expect(0);
    let verdict = run.event("verdict");
    assert_eq!((&verdict["status"], &verdict["accepted"]), (&json!("good"), &json!(true)));
    let run = world.run("cat", &uri, &[]).expect(0);
    assert_eq!(run.stdout, noise(300_000));
    let run = world.run("stat", &uri, &[]).expect(0);
    assert!(run.text().contains("Signed: good: is signed with a trusted key"), "{}", run.text());
    let run = pdtp(&["ls", "--json", &evil.uri("/pub")]).expect(0);
    assert!(run.text().contains(r#""signed_by":"publisher""#), "{}", run.text());
}

#[test]
fn on_a_terminal_the_user_is_asked_once() {
    let world = World::new();
    world.serve("pub/second", &noise(1000));
    world.sign("alice", "/pub", "pub/second");
    world.serve("elsewhere", b"content");
    world.sign("alice", "/", "elsewhere");
    let server = Pdtpd::start(world.served.path(), &[""; 0]);
    let trust = world.trust_file();
    let get = |answer: &str, path: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/terminal.py");
        let mut command = std::process::Command::new("python3");
        command.args([script, answer, env!("CARGO_BIN_EXE_pdtp"), "get", "--trust", trust.to_str().unwrap()]);
        command.args([server.uri(path).as_str(), "-o", "copy"]).current_dir(world.here.path());
        Proc::spawn(command).finish(PATIENCE)
    };
    let copy = world.here.path().join("copy");
    let run = get("n", "/pub/file").expect(10);
    for part in ["is signed with a key that is not known here", &world.fingerprint("alice"), "[y/N]"] {
        assert!(run.text().contains(part), "{part} in {}", run.text());
    }
    assert!(!copy.exists() && !trust.exists());
    get("y", "/pub/file").expect(0);
    assert_eq!(std::fs::read(&copy).unwrap(), noise(300_000));
    let written = std::fs::read_to_string(&trust).unwrap();
    let line = format!("127.0.0.1:{}/pub ed25519 {} 20", server.port(), world.fingerprint("alice"));
    assert!(written.lines().any(|l| l.starts_with(&line)), "{written}");
    for path in ["/pub/file", "/pub/second"] {
        let run = get("n", path).expect(0);
        assert!(!run.text().contains("[y/N]") && run.text().contains("known since"), "{}", run.text());
    }
    // Another part of the server may have another publisher.
    get("n", "/elsewhere").expect(10);
    world.serve("pub/file", b"evil");
    world.sign("mallory", "/pub", "pub/file");
    let run = get("n", "/pub/file").expect(11);
    assert!(run.text().contains("@ WARNING: SIGNED WITH ANOTHER KEY THAN BEFORE"), "{}", run.text());
    assert_eq!(std::fs::read(&copy).unwrap(), noise(1000), "what was good is still there");
    // A new key of the publisher, after asking her.
    get("y", "/pub/file").expect(0);
    assert_eq!(std::fs::read(&copy).unwrap(), b"evil");
    get("n", "/pub/file").expect(0);
}

#[test]
fn another_file_with_the_signature_of_the_old_one() {
    let mut world = World::new();
    let evil = world.start();
    world.trust("alice", evil.port);
    let sidecar = std::fs::read_to_string(world.sidecar("pub/file")).unwrap();
    world.serve("pub/file", &noise(300_001));
    // The server itself does not offer what does not fit.
    world.is_refused(&evil.uri("/pub/file"), 10, "is not signed, but should be");
    let (manifest, rest) = sidecar.split_once("\n\n").unwrap();
    let value = rest.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let key = rest.split_once('\n').unwrap().1.to_owned();
    let manifest = format!("{manifest}\n");
    evil.says(move |kind, members| {
        if kind == "tell_info" {
            let signature = json!({"key": key, "algorithm": "ed25519", "value": value, "manifest": manifest});
            members["signatures"] = json!([signature]);
        }
    });
    world.is_refused(&evil.uri("/pub/file"), 9, "is not what was signed");
}

#[test]
fn another_manifest() {
    let mut world = World::new();
    let evil = world.start();
    world.trust("alice", evil.port);
    world.serve("pub/file", &noise(300_001));
    world.sign("mallory", "/pub", "pub/file");
    // What Mallory says of his file, under Alice's name.
    let alices = std::fs::read_to_string(world.key("alice.pub")).unwrap();
    evil.says(move |kind, members| {
        if let Some(signature) = signature(kind, members) {
            signature["key"] = json!(alices);
        }
    });
    world.is_refused(&evil.uri("/pub/file"), 9, "a signature that does not match");
}

#[test]
fn another_key() {
    let mut world = World::new();
    let evil = world.start();
    world.trust("alice", evil.port);
    world.serve("pub/file", &noise(300_001));
    world.sign("mallory", "/pub", "pub/file");
    world.is_refused(&evil.uri("/pub/file"), 11, "is signed with another key than before");
    // Whoever wrote the key into the link does not even need a trust file.
    let uri = format!("{}#key={}", evil.uri("/pub/file"), world.fingerprint("alice"));
    std::fs::remove_file(world.trust_file()).unwrap();
    world.is_refused(&uri, 11, "another key");
    let uri = format!("{}#key={}", evil.uri("/pub/file"), world.fingerprint("mallory"));
    world.run("get", &uri, &[]).expect(0);
}

#[test]
fn an_old_version() {
    let mut world = World::new();
    world.serve("pub/file", OLD);
    world.sign("alice", "/pub", "pub/file");
    let old = std::fs::read(world.sidecar("pub/file")).unwrap();
    let evil = world.start();
    world.trust("alice", evil.port);
    world.run("get", &evil.uri("/pub/file"), &[]).expect(0);
    // Dates of manifests have seconds.
    let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = second();
    wait_until("a second is over", PATIENCE, || second() > now);
    world.serve("pub/file", &noise(300_000));
    world.sign("alice", "/pub", "pub/file");
    world.run("get", &evil.uri("/pub/file"), &[]).expect(0);
    assert_eq!(std::fs::read(world.local()).unwrap(), noise(300_000));
    world.serve("pub/file", OLD);
    world.serve("pub/file.pdtpsig", &old);
    world.is_refused(&evil.uri("/pub/file"), 9, "is an old version");
}

#[test]
fn no_signature_any_more() {
    let mut world = World::new();
    let evil = world.start();
    world.trust("alice", evil.port);
    evil.says(|kind, members| {
        if kind == "tell_info" {
            members.as_object_mut().unwrap().remove("signatures");
        }
    });
    world.is_refused(&evil.uri("/pub/file"), 10, "is not signed, but should be");
    // Elsewhere nobody has said that files are signed.
    world.serve("other", b"content");
    world.run("get", &evil.uri("/other"), &[]).expect(0);
    world.run("get", &evil.uri("/other"), &["--verify", "require", "-o", "x"]).expect(10);
    // Who names a key wants a signature.
    world.run("get", &evil.uri("/other"), &["--key", &world.key("alice.pub"), "-o", "x"]).expect(10);
    assert!(!world.here.path().join("x").exists());
}

#[test]
fn a_signed_file_under_another_name() {
    let mut world = World::new();
    let evil = world.start();
    world.trust("alice", evil.port);
    std::fs::copy(world.served.path().join("pub/file"), world.served.path().join("pub/other")).unwrap();
    std::fs::copy(world.sidecar("pub/file"), world.sidecar("pub/other")).unwrap();
    world.is_refused(&evil.uri("/pub/other"), 10, "is not signed, but should be");
    // Or all of /pub/file's answer for the question about /pub/other.
    let (file, other) = ("/pub/file", "/pub/other");
    let told = pdtp(&["stat", "--json", &evil.uri(file)]).expect(0);
    assert!(told.text().contains("unknown_key"), "{}", told.text());
    let sidecar = std::fs::read_to_string(world.sidecar("pub/file")).unwrap();
    let (manifest, rest) = sidecar.split_once("\n\n").unwrap();
    let value = rest.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let (key, manifest) = (rest.split_once('\n').unwrap().1.to_owned(), format!("{manifest}\n"));
    evil.says(move |kind, members| {
        if kind == "tell_info" {
            let signature = json!({"key": key, "algorithm": "ed25519", "value": value, "manifest": manifest});
            members["signatures"] = json!([signature]);
        }
    });
    world.is_refused(&evil.uri(other), 9, "has a signature for another file, /pub/file");
}

#[test]
fn hashes_of_something_else_than_what_was_signed() {
    let mut world = World::new();
    let evil = world.start();
    world.trust("alice", evil.port);
    evil.says(|kind, members| {
        if kind == "tell_hashes" {
            let hashes = members["hashes"].as_str().unwrap();
            let changed = hashes.replacen(&hashes[..1], if hashes.starts_with('A') { "B" } else { "A" }, 1);
            members["hashes"] = json!(changed);
        }
    });
    world.is_refused(&evil.uri("/pub/file"), 6, "do not belong to its version");
}

#[test]
fn other_bytes_from_a_peer() {
    let mut world = World::new();
    let evil = world.start();
    world.trust("alice", evil.port);
    evil.corrupts(true);
    let trust = world.trust_file();
    let args = |command| vec![command, "--timeout", "3", "--trust", trust.to_str().unwrap()];
    let uri = evil.uri("/pub/file");
    let run = pdtp_in(world.here.path(), &[args("cat"), vec![&uri]].concat());
    assert_ne!(run.code(), 0, "{}", run.stderr);
    assert!(noise(300_000).starts_with(&run.stdout), "what arrives is right");
    let run = pdtp_in(world.here.path(), &[args("get"), vec![&uri]].concat());
    assert_ne!(run.code(), 0, "{}", run.stderr);
    assert!(!world.local().exists());
    evil.corrupts(false);
    world.run("get", &uri, &[]).expect(0);
    assert_eq!(std::fs::read(world.local()).unwrap(), noise(300_000));
}

#[test]
fn a_digest_that_was_signed_wrongly() {
    // Whoever signs may lie about the digest beside the root; who believes the digest would be deceived.
    let mut world = World::new();
    let sidecar = std::fs::read_to_string(world.sidecar("pub/file")).unwrap();
    let (manifest, _) = sidecar.split_once("\n\n").unwrap();
    let at = manifest.find("SHA-256: ").unwrap() + 9;
    let wrong = format!("{}{}{}\n", &manifest[..at], "00".repeat(32), &manifest[at + 64..]);
    let dir = world.keys.path();
    std::fs::write(dir.join("manifest"), &wrong).unwrap();
    let openssl = |args: &str| {
        let output =
            std::process::Command::new("openssl").args(args.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    openssl("pkeyutl -sign -inkey alice -rawin -in manifest -out sig");
    let value = openssl("base64 -A -in sig");
    let key = std::fs::read_to_string(world.key("alice.pub")).unwrap();
    world.serve("pub/file.pdtpsig", format!("{wrong}\nSignature: ed25519 {value}\n{key}").as_bytes());
    let evil = world.start();
    world.trust("alice", evil.port);
    let run = world.run("get", &evil.uri("/pub/file"), &[]).expect(9);
    assert!(run.stderr.contains("does not have the SHA-256 that was signed"), "{}", run.stderr);
    assert!(!world.local().exists());
}

#[test]
fn a_tree_of_which_one_file_was_swapped() {
    let mut world = World::new();
    for n in 0..20 {
        let name = format!("pub/f{n}");
        world.serve(&name, &noise(1000 + n));
        world.sign("alice", "/pub", &name);
    }
    let evil = world.start();
    world.trust("alice", evil.port);
    let get = |code| world.run("get", &evil.uri("/pub/"), &["-r", "-o", "tree"]).expect(code);
    let run = get(0);
    assert_eq!(run.stderr.matches("is signed with a trusted key").count(), 1, "one line: {}", run.stderr);
    let tree = world.here.path().join("tree");
    assert_eq!(std::fs::read(tree.join("f7")).unwrap(), noise(1007));
    world.serve("pub/f7", b"evil");
    std::fs::remove_dir_all(&tree).unwrap();
    let run = get(10);
    assert!(run.stderr.contains("1 of 42 failed: /pub/f7 is not signed, but should be"), "{}", run.stderr);
    assert!(!tree.join("f7").exists());
    assert_eq!(std::fs::read(tree.join("f8")).unwrap(), noise(1008));
}

#[test]
fn the_server_signs_what_nobody_else_has() {
    let world = World::new();
    world.serve("unsigned", &noise(200_000));
    world.serve("small", b"content");
    pdtp_in(world.keys.path(), &["keygen", "--type", "ecdsa-p256", "--no-passphrase", "hub"]).expect(0);
    let state = scratch();
    let key = world.key("hub");
    let args = ["--sign-key", &key, "--state", state.path().to_str().unwrap()];
    let mut server = Pdtpd::start(world.served.path(), &args);
    let offered = http(server.port(), "GET", "/.pdtp/keys", &[]);
    assert_eq!(offered.text(), std::fs::read_to_string(world.key("hub.pub")).unwrap());
    let get = |server: &Pdtpd, path: &str, key: &str, name: &str| {
        let more = ["--verify", "require", "--key", key, "-o", name];
        world.run("get", &server.uri(path), &more)
    };
    // That the server offers it makes nobody trust it.
    world.run("get", &server.uri("/unsigned"), &["--verify", "require", "-o", "x"]).expect(10);
    for path in ["/unsigned", "/small"] {
        get(&server, path, &world.key("hub.pub"), "a").expect(0);
        std::fs::remove_file(world.here.path().join("a")).unwrap();
    }
    get(&server, "/pub/file", &world.key("alice.pub"), "b").expect(0);
    get(&server, "/pub/file", &world.key("hub.pub"), "c").expect(10);
    let listed = pdtp(&["ls", "--json", &server.uri("/")]).expect(0);
    assert!(listed.text().contains(r#""signed_by":"server""#), "{}", listed.text());
    let date = |server: &Pdtpd| {
        let run = pdtp(&["stat", "--json", &server.uri("/unsigned")]).expect(0);
        let value: Value = serde_json::from_str(&run.text()).unwrap();
        value["verdict"]["date"].as_str().unwrap().to_owned()
    };
    let before = date(&server);
    server.terminate();
    let server = Pdtpd::start(world.served.path(), &args);
    assert_eq!(date(&server), before, "what was signed is kept");
    get(&server, "/unsigned", &world.key("hub.pub"), "d").expect(0);
}

#[test]
fn a_file_is_cut_as_it_was_signed() {
    let world = World::new();
    world.serve("pub/file", &noise(1_000_000));
    world.sign("alice", "/pub", "pub/file");
    let server = Pdtpd::start(world.served.path(), &["--piece-size", "16K"]);
    world.trust("alice", server.port());
    world.run("get", &server.uri("/pub/file"), &[]).expect(0);
    // A signature that comes later, when the file is hashed already.
    world.serve("pub/later", &noise(1_000_000));
    let stat = || pdtp(&["stat", "--json", &server.uri("/pub/later")]).expect(0).text();
    assert!(stat().contains(r#""status":"unsigned""#), "{}", stat());
    world.sign("alice", "/pub", "pub/later");
    world.run("get", &server.uri("/pub/later"), &[]).expect(0);
    // And one that is no sidecar at all.
    world.serve("pub/file.pdtpsig", b"what?");
    world.run("get", &server.uri("/pub/file"), &["--verify", "report", "-o", "x"]).expect(0);
    assert_eq!(std::fs::read(Path::new(&world.here.path().join("x"))).unwrap(), noise(1_000_000));
}
