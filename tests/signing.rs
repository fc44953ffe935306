//! "Who made this file": keys, signatures and verdicts on one machine, and with the `openssl` command on the other
//! side of each.

pub mod common;

use std::path::Path;
use std::process::Command;

use common::*;

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).unwrap();
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

/// Runs openssl in `dir`; panics where it fails.
fn openssl(dir: &Path, args: &str) -> String {
    let (ok, text) = try_openssl(dir, args);
    assert!(ok, "openssl {args}\n{text}");
    text
}

fn try_openssl(dir: &Path, args: &str) -> (bool, String) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

/// Takes a sidecar apart as the help of `pdtp verify` says, with a shell.
fn take_apart(dir: &Path, sidecar: &str) {
    let script = format!(
        "sed '/^$/,$d' {sidecar} > manifest && sed -n 's/^Signature: [^ ]* //p' {sidecar} | base64 -d > sig \
         && sed -n '/BEGIN PUBLIC/,/END PUBLIC/p' {sidecar} > shown.pub"
    );
    assert!(Command::new("sh").args(["-c", &script]).current_dir(dir).status().unwrap().success());
}

const KINDS: [&str; 3] = ["ed25519", "ecdsa-p256", "dsa-2048"];

/// How openssl makes a key of a kind.
fn genpkey(kind: &str, out: &str) -> Vec<String> {
    match kind {
        "ed25519" => vec![format!("genpkey -algorithm ED25519 -out {out}")],
        "ecdsa-p256" => vec![format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {out}")],
        dsa => {
            let bits = dsa.strip_prefix("dsa-").unwrap();
            let parameters = format!("-pkeyopt dsa_paramgen_bits:{bits} -pkeyopt dsa_paramgen_q_bits:256");
            vec![
                format!("genpkey -genparam -algorithm DSA {parameters} -out parameters"),
                format!("genpkey -paramfile parameters -out {out}"),
            ]
        }
    }
}

fn verify_by_openssl(kind: &str, key: &str) -> String {
    match kind {
        "ed25519" => format!("pkeyutl -verify -pubin -inkey {key} -rawin -in manifest -sigfile sig"),
        _ => format!("dgst -sha256 -verify {key} -signature sig manifest"),
    }
}

#[test]
fn keys_and_signatures_of_ours_are_openssls() {
    for kind in KINDS {
        let dir = scratch();
        let dir = dir.path();
        write(dir, "a file", b"content");
        let made = pdtp_in(dir, &["keygen", "--type", kind, "--no-passphrase", "key"]).expect(0);
        let fingerprint = made.text().split(' ').next().unwrap().to_owned();
        // A fingerprint is SHA-256 of the public key in DER.
        openssl(dir, "pkey -in key -pubout -outform DER -out key.der");
        let digest = openssl(dir, "dgst -sha256 key.der");
        assert!(digest.trim().ends_with(&fingerprint), "{digest} {fingerprint}");
        openssl(dir, "pkey -in key -pubout -out by-openssl.pub");
        assert_eq!(read(dir, "by-openssl.pub"), read(dir, "key.pub"));

        pdtp_in(dir, &["sign", "--key", "key", "a file"]).expect(0);
        std::fs::rename(dir.join("a file.pdtpsig"), dir.join("s.pdtpsig")).unwrap();
        take_apart(dir, "s.pdtpsig");
        assert_eq!(read(dir, "shown.pub"), read(dir, "key.pub"));
        assert!(read(dir, "manifest").contains("\nPath: /a%20file\nSize: 7\n"));
        let verified = openssl(dir, &verify_by_openssl(kind, "key.pub"));
        assert!(verified.contains("Verified OK") || verified.contains("Signature Verified"), "{verified}");
        let tampered = read(dir, "manifest").replace("Size: 7", "Size: 8");
        write(dir, "manifest", tampered.as_bytes());
        assert!(!try_openssl(dir, &verify_by_openssl(kind, "key.pub")).0);
    }
}

#[test]
fn keys_and_signatures_of_openssls_are_ours() {
    for kind in ["ed25519", "ecdsa-p256", "dsa-2048", "dsa-3072"] {
        let dir = scratch();
        let dir = dir.path();
        write(dir, "f", b"content");
        genpkey(kind, "key").iter().for_each(|args| drop(openssl(dir, args)));
        openssl(dir, "pkey -in key -pubout -out key.pub");
        // Ours with their key, verified with their public key, both ways of writing it.
        pdtp_in(dir, &["sign", "--key", "key", "f"]).expect(0);
        pdtp_in(dir, &["verify", "--key", "key.pub", "f"]).expect(0);
        take_apart(dir, "f.pdtpsig");
        openssl(dir, &verify_by_openssl(kind, "key.pub"));

        // Theirs over our manifest, put into the sidecar in the place of ours.
        let sign = match kind {
            "ed25519" => "pkeyutl -sign -inkey key -rawin -in manifest -out theirs",
            _ => "dgst -sha256 -sign key -out theirs manifest",
        };
        openssl(dir, sign);
        let theirs = openssl(dir, "base64 -A -in theirs");
        let ours = openssl(dir, "base64 -A -in sig");
        let sidecar = read(dir, "f.pdtpsig");
        assert!(sidecar.contains(&ours));
        write(dir, "f.pdtpsig", sidecar.replace(&ours, &theirs).as_bytes());
        assert_eq!(theirs == ours, kind == "ed25519", "{kind}: openssl's nonces are random, ours are not");
        pdtp_in(dir, &["verify", "--key", "key.pub", "f"]).expect(0);
        write(dir, "f", b"c0ntent");
        pdtp_in(dir, &["verify", "--key", "key.pub", "f"]).expect(9);
    }
}

#[test]
fn encrypted_keys_go_both_ways() {
    for kind in KINDS {
        let dir = scratch();
        let dir = dir.path();
        write(dir, "f", b"content");
        write(dir, "secret", b"correct horse\nnot this line");
        // Of one file openssl would take the second line as the second passphrase.
        write(dir, "same", b"correct horse\n");
        write(dir, "wrong", b"incorrect horse");
        pdtp_in(dir, &["keygen", "--type", kind, "--passphrase-file", "secret", "ours"]).expect(0);
        assert!(read(dir, "ours").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        openssl(dir, "pkey -in ours -passin file:secret -pubout -out by-openssl.pub");
        assert_eq!(read(dir, "by-openssl.pub"), read(dir, "ours.pub"));

        openssl(
            dir,
            "pkcs8 -topk8 -in ours -passin file:secret -passout file:same -v2 aes-256-cbc -out pbkdf2",
        );
        openssl(dir, "pkcs8 -topk8 -in ours -passin file:secret -passout file:same -scrypt -out scrypt");
        for key in ["ours", "pbkdf2", "scrypt"] {
            let sign = |how: &[&str]| pdtp_in(dir, &[&["sign", "--key", key, "f"], how].concat());
            sign(&["--passphrase-file", "secret"]).expect(0);
            let run = sign(&["--passphrase-file", "wrong"]).expect(2);
            assert!(run.stderr.contains("passphrase is wrong"), "{}", run.stderr);
            let run = sign(&[]).expect(2);
            assert!(run.stderr.contains("needs its passphrase"), "{}", run.stderr);
        }
        let by_descriptor =
            format!("exec {} sign --key ours --passphrase-fd 7 f 7<secret", env!("CARGO_BIN_EXE_pdtp"));
        assert!(Command::new("sh").args(["-c", &by_descriptor]).current_dir(dir).status().unwrap().success());
        pdtp_in(dir, &["verify", "--key", "ours.pub", "f"]).expect(0);
    }
}

#[test]
fn private_keys_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = scratch();
    let dir = dir.path();
    write(dir, "f", b"content");
    let run = pdtp_in(dir, &["keygen", "--no-passphrase", "key"]).expect(0);
    assert!(run.stderr.contains("not encrypted"), "{}", run.stderr);
    let mode = |name| dir.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("key"), 0o600);
    let run = pdtp_in(dir, &["sign", "--key", "key", "f"]).expect(0);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    std::fs::set_permissions(dir.join("key"), PermissionsExt::from_mode(0o644)).unwrap();
    let run = pdtp_in(dir, &["sign", "--key", "key", "f"]).expect(0);
    assert!(run.stderr.contains("others can read key"), "{}", run.stderr);
    let before = read(dir, "key");
    pdtp_in(dir, &["keygen", "--no-passphrase", "key"]).expect(7);
    assert_eq!(read(dir, "key"), before, "no key is ever overwritten");
}

#[test]
fn verdicts_on_a_file_of_this_machine() {
    let dir = scratch();
    let dir = dir.path();
    write(dir, "f", &vec![7; 300_000]);
    pdtp_in(dir, &["keygen", "--no-passphrase", "alice"]).expect(0);
    pdtp_in(dir, &["keygen", "--no-passphrase", "bob"]).expect(0);
    pdtp_in(dir, &["verify", "--key", "alice.pub", "f"]).expect(10);
    pdtp_in(dir, &["sign", "--key", "alice", "--prefix", "/pub", "f"]).expect(0);
    let run = pdtp_in(dir, &["verify", "--key", "alice.pub", "f"]).expect(0);
    assert!(run.text().starts_with("f is signed with a trusted key: ed25519 "), "{}", run.text());
    assert_eq!(run.text().lines().count(), 1);
    pdtp_in(dir, &["verify", "--key", "bob.pub", "f"]).expect(10);
    pdtp_in(dir, &["verify", "--key", "bob.pub", "--key", "alice.pub", "f"]).expect(0);
    // The path is a part of what is signed.
    pdtp_in(dir, &["verify", "--key", "alice.pub", "--path", "/pub/f", "f"]).expect(0);
    let run = pdtp_in(dir, &["verify", "--key", "alice.pub", "--path", "/f", "f"]).expect(9);
    assert!(run.stderr.contains("another file, /pub/f"), "{}", run.stderr);
    // By the trust file.
    let fingerprint = pdtp_in(dir, &["fingerprint", "alice.pub"]).expect(0).text();
    let fingerprint = fingerprint.split(' ').next().unwrap().to_owned();
    write(
        dir,
        "trust",
        format!("# us\nhost/pub ed25519 {fingerprint} 2026-01-01T00:00:00Z Alice\n").as_bytes(),
    );
    let run = pdtp_in(dir, &["verify", "--trust", "trust", "f"]).expect(0);
    assert!(run.text().contains("(Alice), known since 2026-01-01T00:00:00Z, signed 20"));
    let json = pdtp_in(dir, &["verify", "--json", "--trust", "trust", "f"]).expect(0).text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["status"], &json["key"]), (&"good".into(), &fingerprint.clone().into()));
    write(dir, "revoked", format!("* ed25519 {fingerprint}\n@revoked * key {fingerprint}\n").as_bytes());
    let run = pdtp_in(dir, &["verify", "--trust", "revoked", "f"]).expect(9);
    assert!(run.stderr.contains("revoked"), "{}", run.stderr);
    write(dir, "broken", b"* ed25519\n");
    let run = pdtp_in(dir, &["verify", "--trust", "broken", "f"]).expect(2);
    assert!(run.stderr.contains("line 1"), "{}", run.stderr);
    // One wrong byte, one byte more, and a signature of something else.
    let sidecar = read(dir, "f.pdtpsig");
    for change in [&vec![7; 300_001][..], &vec![7; 299_999], &[&vec![7; 299_999][..], &[8]].concat()] {
        write(dir, "f", change);
        pdtp_in(dir, &["verify", "--key", "alice.pub", "f"]).expect(9);
    }
    write(dir, "f", &vec![7; 300_000]);
    write(dir, "f.pdtpsig", sidecar.replace("SHA-256: ", "SHA-256:  ").as_bytes());
    pdtp_in(dir, &["verify", "--key", "alice.pub", "f"]).expect(2);
}

#[test]
fn several_sign_the_same_and_nobodys_signature_is_lost() {
    let dir = scratch();
    let dir = dir.path();
    write(dir, "f", b"content");
    for name in ["alice", "bob"] {
        pdtp_in(dir, &["keygen", "--no-passphrase", name]).expect(0);
    }
    let sign = |key, more: &[&str]| pdtp_in(dir, &[&["sign", "--key", key, "f"], more].concat());
    assert!(sign("alice", &[]).expect(0).text().contains("signed as /f"));
    assert!(sign("alice", &[]).expect(0).text().contains("already signed"));
    assert!(sign("bob", &[]).expect(0).text().contains("signature added"));
    for key in ["alice.pub", "bob.pub"] {
        pdtp_in(dir, &["verify", "--key", key, "f"]).expect(0);
    }
    write(dir, "f", b"new content");
    sign("alice", &[]).expect(7);
    sign("alice", &["--force"]).expect(0);
    pdtp_in(dir, &["verify", "--key", "alice.pub", "f"]).expect(0);
    pdtp_in(dir, &["verify", "--key", "bob.pub", "f"]).expect(10);
    write(dir, "f", b"newer content");
    sign("alice", &[]).expect(0);
}

#[test]
fn a_tree_is_signed_for_where_it_will_be() {
    let tree = make_tree(&[("a", 10), ("b/c d", 100_000), ("b/.hidden", 5)]);
    let dir = tree.path();
    let keys = scratch();
    pdtp_in(keys.path(), &["keygen", "--no-passphrase", "key"]).expect(0);
    let key = keys.path().join("key");
    let key = key.to_str().unwrap();
    pdtp_in(dir, &["sign", "--key", key, "."]).expect(2);
    let run = pdtp_in(dir, &["sign", "--key", key, "-r", "--prefix", "/pub", "."]).expect(0);
    assert!(run.text().starts_with("2 files signed;"), "{}", run.text());
    assert!(read(dir, "b/c d.pdtpsig").contains("\nPath: /pub/b/c%20d\n"));
    assert!(!dir.join("b/.hidden.pdtpsig").exists() && !dir.join("a.pdtpsig.pdtpsig").exists());
    let public = format!("{key}.pub");
    let verify = || pdtp_in(dir, &["verify", "--key", &public, "-r", "."]);
    assert!(verify().expect(0).text().starts_with("2 files, "));
    write(dir, "a", b"something else");
    write(dir, "unsigned", b"");
    let run = verify();
    assert!([9, 10].contains(&run.code()), "{}", run.stderr);
    assert!(run.stderr.contains("a is not what was signed") && run.stderr.contains("unsigned is not signed"));
    assert!(run.stderr.contains("2 are not signed with trusted keys"), "{}", run.stderr);
    std::fs::remove_file(dir.join("unsigned")).unwrap();
    pdtp_in(dir, &["sign", "--key", key, "-r", "--prefix", "/pub", "."]).expect(0);
    let run = pdtp_in(dir, &["sign", "--key", key, "-r", "--prefix", "/pub", "."]).expect(0);
    assert!(run.text().contains("0 files signed, 2 were signed before"), "{}", run.text());
}
