//! "A signer may show certificates": chains made by the real `openssl`, good ones and one for each way to be bad.

pub mod common;

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use common::*;

const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign";
const LEAF: &str = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature";

/// Somebody's office, with keys and certificates as `NAME.key` and `NAME.pem`.
struct Office {
    dir: tempfile::TempDir,
    serial: Cell<u32>,
}

impl Office {
    fn new() -> Self {
        let office = Self { dir: scratch(), serial: Cell::new(1) };
        std::fs::write(office.path().join("file"), b"content").unwrap();
        office
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn openssl(&self, args: &str) {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "openssl {args}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    fn key(&self, name: &str, kind: &str) {
        let out = format!("-out {name}.key");
        match kind {
            "ed25519" => self.openssl(&format!("genpkey -algorithm ED25519 {out}")),
            "p256" => self.openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 {out}")),
            rsa if rsa.starts_with("rsa") => {
                self.openssl(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{} {out}", &rsa[3..]));
            }
            dsa => {
                let bits = &dsa[3..];
                let q = if bits == "1024" { 160 } else { 256 };
                let options = format!("-pkeyopt dsa_paramgen_bits:{bits} -pkeyopt dsa_paramgen_q_bits:{q}");
                self.openssl(&format!("genpkey -genparam -algorithm DSA {options} -out dsa.params"));
                self.openssl(&format!("genpkey -paramfile dsa.params {out}"));
            }
        }
    }

    /// A certificate for `name`, by `issuer` (itself for a root), with extensions, and what else openssl is to be told.
    fn certify(&self, name: &str, issuer: &str, extensions: &str, more: &str) {
        self.certify_as(name, name, issuer, extensions, more);
    }

    /// The same with another common name than that of the files.
    fn certify_as(&self, name: &str, common: &str, issuer: &str, extensions: &str, more: &str) {
        self.serial.set(self.serial.get() + 1);
        std::fs::write(self.path().join("extensions"), extensions).unwrap();
        let subject = format!("/O=Office/CN={common}");
        self.openssl(&format!("req -new -key {name}.key -subj {subject} -out {name}.csr"));
        let by = if name == issuer {
            format!("-signkey {name}.key")
        } else {
            format!("-CA {issuer}.pem -CAkey {issuer}.key")
        };
        let digest = if more.contains("-sha") { "" } else { "-sha256 " };
        let days = if more.contains("-days") { "" } else { "-days 30 " };
        let serial = self.serial.get();
        let args =
            format!("x509 -req -in {name}.csr {by} -set_serial {serial} {digest}{days}-extfile extensions");
        self.openssl(format!("{args} -out {name}.pem {more}").trim());
    }

    /// A root, an issuer below it, and a signer, all sound.
    fn usual() -> Self {
        let office = Self::new();
        office.key("root", "p256");
        office.certify("root", "root", CA, "");
        office.key("middle", "ed25519");
        office.certify("middle", "root", CA, "");
        office.key("alice", "ed25519");
        office.certify("alice", "middle", LEAF, "");
        office
    }

    /// Alice's certificates as she shows them.
    fn shows(&self, names: &[&str]) {
        let read = |name: &&str| std::fs::read_to_string(self.path().join(format!("{name}.pem"))).unwrap();
        std::fs::write(self.path().join("chain.pem"), names.iter().map(read).collect::<String>()).unwrap();
    }

    /// Signs, showing these certificates, and verifies against these roots.
    fn verify(&self, chain: &[&str], roots: &[&str]) -> Run {
        self.shows(chain);
        let signer = format!("{}.key", chain[0]);
        pdtp_in(self.path(), &["sign", "--force", "--key", &signer, "--cert", "chain.pem", "file"]).expect(0);
        let roots: Vec<String> = roots.iter().map(|name| format!("--key={name}.pem")).collect();
        let mut args: Vec<&str> = vec!["verify", "file"];
        args.extend(roots.iter().map(String::as_str));
        pdtp_in(self.path(), &args)
    }

    fn is_good(&self, chain: &[&str]) {
        let run = self.verify(chain, &["root"]).expect(0);
        assert!(run.text().contains("(alice)"), "{}", run.text());
        // openssl comes to the same verdict.
        self.openssl("verify -CAfile root.pem -untrusted chain.pem alice.pem");
    }

    fn is_bad(&self, chain: &[&str], code: i32, why: &str) {
        let run = self.verify(chain, &["root"]).expect(code);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
}

#[test]
fn chains_of_all_kinds_of_keys() {
    for (root, middle, alice) in [
        ("rsa2048", "dsa2048", "ed25519"),
        ("dsa2048", "p256", "dsa2048"),
        ("p256", "ed25519", "p256"),
        ("ed25519", "rsa3072", "dsa3072"),
    ] {
        let office = Office::new();
        for (name, kind) in [("root", root), ("middle", middle), ("alice", alice)] {
            office.key(name, kind);
        }
        office.certify("root", "root", CA, "");
        // Ed25519 has a digest of its own, and openssl knows DSA with SHA-256 only.
        let digest = |kind: &str, longer| if ["ed25519", "dsa2048"].contains(&kind) { "" } else { longer };
        office.certify("middle", "root", CA, digest(root, "-sha384"));
        office.certify("alice", "middle", LEAF, digest(middle, "-sha512"));
        office.is_good(&["alice", "middle"]);
        office.is_good(&["alice", "middle", "root"]);
    }
}

#[test]
fn only_who_leads_to_an_anchor() {
    let office = Office::usual();
    office.is_bad(&["alice"], 10, "certified by nobody who is trusted");
    office.key("other", "p256");
    office.certify("other", "other", CA, "");
    let run = office.verify(&["alice", "middle", "root"], &["other"]).expect(10);
    assert!(run.stderr.contains("nobody who is trusted"), "{}", run.stderr);
    office.verify(&["alice", "middle"], &["other", "root"]).expect(0);
    // The issuer, and the signer's own certificate, can be trusted just as well.
    office.verify(&["alice"], &["middle"]).expect(0);
    office.verify(&["alice"], &["alice"]).expect(0);
    office.is_bad(&["alice", "root", "middle"], 10, "not issued by the next one");
    // A root of the same name with another key.
    office.key("root", "p256");
    office.certify("root", "root", CA, "");
    office.is_bad(&["alice", "middle"], 10, "bad signature");
    // A certificate of another key is nothing that can be shown.
    office.shows(&["middle"]);
    let run =
        pdtp_in(office.path(), &["sign", "--key", "alice.key", "--cert", "chain.pem", "file"]).expect(2);
    assert!(run.stderr.contains("of another key"), "{}", run.stderr);
}

#[test]
fn times() {
    let office = Office::usual();
    office.certify("alice", "middle", LEAF, "-days -1");
    office.is_bad(&["alice", "middle"], 9, "certificate of \"alice\" that has expired");
    office.certify("alice", "middle", LEAF, "");
    office.certify("middle", "root", CA, "-days -1");
    office.is_bad(&["alice", "middle"], 9, "certificate of \"middle\" that has expired");
    // One that begins later.
    let config = "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index\nserial=serial\ndefault_md=sha256\n\
                  policy=p\n[p]\nO=optional\nCN=supplied\n";
    std::fs::write(office.path().join("ca.conf"), config).unwrap();
    std::fs::write(office.path().join("index"), "").unwrap();
    std::fs::write(office.path().join("serial"), "99\n").unwrap();
    std::fs::write(office.path().join("extensions"), CA).unwrap();
    office.openssl(
        "ca -batch -notext -config ca.conf -cert root.pem -keyfile root.key -in middle.csr -extfile extensions \
         -startdate 20480101000000Z -enddate 20490101000000Z -out middle.pem",
    );
    office.is_bad(&["alice", "middle"], 9, "certificate of \"middle\" that is not valid yet");
}

#[test]
fn issuers_must_be_issuers() {
    let office = Office::usual();
    for (extensions, why) in [
        ("basicConstraints=critical,CA:FALSE", "not that of an issuer"),
        ("keyUsage=critical,keyCertSign", "not that of an issuer"),
        (
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature",
            "may not sign certificates",
        ),
        ("basicConstraints=critical,CA:TRUE\nextendedKeyUsage=serverAuth", "another purpose"),
    ] {
        office.certify("middle", "root", extensions, "");
        office.is_bad(&["alice", "middle"], 10, why);
    }
    // A signer who certifies another one.
    office.certify("middle", "root", CA, "");
    office.key("eve", "ed25519");
    office.certify("eve", "alice", LEAF, "");
    office.is_bad(&["eve", "alice", "middle"], 10, "not that of an issuer");
}

#[test]
fn signers_must_be_allowed_to_sign() {
    let office = Office::usual();
    for (extensions, why) in [
        ("keyUsage=critical,keyEncipherment", "may not sign content"),
        ("extendedKeyUsage=serverAuth,clientAuth", "another purpose"),
    ] {
        office.certify("alice", "middle", extensions, "");
        office.is_bad(&["alice", "middle"], 10, why);
    }
    for extensions in [
        "keyUsage=critical,nonRepudiation",
        "extendedKeyUsage=critical,codeSigning",
        "extendedKeyUsage=anyExtendedKeyUsage",
        "subjectAltName=email:alice@example.org",
        "certificatePolicies=critical,1.2.3.4",
        "1.2.3.4=ASN1:UTF8String:whatever",
    ] {
        office.certify("alice", "middle", extensions, "");
        office.is_good(&["alice", "middle"]);
    }
}

#[test]
fn lengths_of_paths() {
    let office = Office::usual();
    office.certify("root", "root", &CA.replace("TRUE", "TRUE,pathlen:1"), "");
    office.is_good(&["alice", "middle"]);
    office.certify("root", "root", &CA.replace("TRUE", "TRUE,pathlen:0"), "");
    office.is_bad(&["alice", "middle"], 10, "path below an issuer is too long");
    office.certify("root", "root", CA, "");
    office.certify("middle", "root", &CA.replace("TRUE", "TRUE,pathlen:0"), "");
    office.is_good(&["alice", "middle"]);
    office.key("lower", "ed25519");
    office.certify("lower", "middle", CA, "");
    office.certify("alice", "lower", LEAF, "");
    office.is_bad(&["alice", "lower", "middle"], 10, "path below an issuer is too long");
    office.certify("middle", "root", CA, "");
    office.certify("lower", "middle", CA, "");
    office.is_good(&["alice", "lower", "middle"]);
}

#[test]
fn no_more_than_eight_certificates() {
    let office = Office::usual();
    let mut names = vec!["middle".to_owned()];
    for n in 1..8 {
        let (name, above) = (format!("m{n}"), names.last().unwrap().clone());
        office.key(&name, "ed25519");
        office.certify(&name, &above, CA, "");
        names.push(name);
    }
    let chain = |length: usize| {
        office.certify("alice", &names[length - 2], LEAF, "");
        let mut chain = vec!["alice"];
        chain.extend(names[..length - 1].iter().rev().map(String::as_str));
        chain
    };
    office.is_good(&chain(8));
    office.shows(&chain(9));
    let run =
        pdtp_in(office.path(), &["sign", "--force", "--key", "alice.key", "--cert", "chain.pem", "file"])
            .expect(2);
    assert!(run.stderr.contains("too long"), "{}", run.stderr);
    // And if somebody writes them into the sidecar.
    let sidecar = office.path().join("file.pdtpsig");
    let text = std::fs::read_to_string(&sidecar).unwrap();
    let root = std::fs::read_to_string(office.path().join("root.pem")).unwrap();
    std::fs::write(&sidecar, format!("{text}{root}")).unwrap();
    let run = pdtp_in(office.path(), &["verify", "--key", "root.pem", "file"]).expect(9);
    assert!(run.stderr.contains("certificate chain too long"), "{}", run.stderr);
}

#[test]
fn names_that_an_issuer_may_certify() {
    let office = Office::usual();
    let constrained = |constraints: &str, names: &str| {
        office.certify(
            "middle",
            "root",
            &format!("{CA}\nnameConstraints=critical,{constraints}\n{names}"),
            "",
        );
    };
    let office_only = "[office]\nO=Office\n[elsewhere]\nO=Elsewhere\n[alice]\nO=Office\nCN=alice\n";
    constrained("permitted;dirName:office", office_only);
    office.is_good(&["alice", "middle"]);
    constrained("permitted;dirName:elsewhere", office_only);
    office.is_bad(&["alice", "middle"], 10, "not one that its issuer may certify");
    constrained("excluded;dirName:alice", office_only);
    office.is_bad(&["alice", "middle"], 10, "one that its issuer may not certify");
    constrained("excluded;dirName:elsewhere", office_only);
    office.is_good(&["alice", "middle"]);
    // What is not understood lets nobody through whom it might concern.
    office.certify("alice", "middle", "subjectAltName=DNS:example.org", "");
    constrained("permitted;DNS:example.org", "");
    office.is_bad(&["alice", "middle"], 10, "not understood");
}

#[test]
fn what_is_not_understood_or_not_good_enough() {
    let office = Office::usual();
    office.certify("alice", "middle", "1.2.3.4=critical,ASN1:UTF8String:whatever", "");
    office.is_bad(&["alice", "middle"], 10, "a condition that is not understood");
    office.certify("alice", "middle", LEAF, "");
    office.certify(
        "middle",
        "root",
        &format!("{CA}\npolicyConstraints=critical,requireExplicitPolicy:0"),
        "",
    );
    office.is_bad(&["alice", "middle"], 10, "a condition that is not understood");
    office.certify("middle", "root", CA, "-sha1");
    office.is_bad(&["alice", "middle"], 10, "bad signature");
    office.certify("middle", "root", CA, "-sha224");
    office.is_bad(&["alice", "middle"], 10, "bad signature");
    office.key("middle", "rsa1024");
    office.certify("middle", "root", CA, "");
    office.certify("alice", "middle", LEAF, "");
    office.is_bad(&["alice", "middle"], 10, "RSA of 1024 bits");
}

#[test]
fn certificates_over_the_network() {
    let office = Office::usual();
    let served = scratch();
    std::fs::copy(office.path().join("file"), served.path().join("file")).unwrap();
    office.shows(&["alice", "middle"]);
    let file = served.path().join("file");
    let file = file.to_str().unwrap();
    pdtp_in(office.path(), &["sign", "--key", "alice.key", "--cert", "chain.pem", file]).expect(0);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let here = scratch();
    let root = office.path().join("root.pem");
    let run = pdtp_in(here.path(), &["get", "--key", root.to_str().unwrap(), &server.uri("/file")]).expect(0);
    assert!(run.stderr.contains("is signed with a trusted key: ed25519") && run.stderr.contains("(alice)"));
    // As a line of the trust file, for a part of a server.
    let der = office.path().join("root.der");
    office.openssl("x509 -in root.pem -outform DER -out root.der");
    let base64 = Command::new("openssl").args(["base64", "-A", "-in"]).arg(&der).output().unwrap().stdout;
    let base64 = String::from_utf8(base64).unwrap();
    for (place, code) in [(format!("127.0.0.1:{}/", server.port()), 0), ("elsewhere/".to_owned(), 10)] {
        let line = format!("@cert-authority {place} x509 {base64} the office\n");
        std::fs::write(here.path().join("trust"), line).unwrap();
        pdtp_in(here.path(), &["get", "--trust", "trust", "-o", "again", &server.uri("/file")]).expect(code);
    }
}
