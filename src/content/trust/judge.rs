//! The verdict over the signatures of a file: a function of what is trusted, what was seen, what the server says and
//! the time.

use std::collections::HashMap;

use sha2::Digest as _;

use super::{Seen, Trust};
use crate::content::keys::{Algorithm, Fingerprint, KeyError, PublicKey};
use crate::content::x509::{Chain, ChainError};
use crate::content::{Date, Layout, Manifest, pem};
use crate::wire::{Digest, FileSignature, UrlPath, limits};

/// What a signature is worth. What is worse comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Signed by somebody who is trusted for this place.
    Good,
    /// Nobody has signed it.
    Unsigned,
    /// Signed, and by somebody nobody has said anything about.
    UnknownKey,
    /// Signed by a trusted key, but older than what the same key has signed for this path before.
    Rollback,
    /// Certified by somebody who is trusted, but not at this time.
    Expired,
    /// Signed by another key than those that sign here.
    KeyChanged,
    /// A signature is wrong: broken, of other content or another path, or by a revoked key.
    Bad,
}

impl Status {
    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown_key",
            Self::Rollback => "rollback",
            Self::Expired => "expired",
            Self::KeyChanged => "key_changed",
            Self::Bad => "bad",
        }
    }
}

/// What to do about verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// Only what is [`Status::Good`] is taken.
    Require,
    /// What is unsigned is taken where nothing says that it should be signed; who can be asked is asked of the rest;
    /// otherwise it is refused.
    #[default]
    Ask,
    /// Verdicts are told, and everything is taken.
    Report,
    /// Signatures are not looked at.
    Off,
}

/// What somebody signed, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In one word.
    pub status: Status,
    /// Host and port of the server.
    pub server: (String, u16),
    /// The file.
    pub path: UrlPath,
    /// Who signed: the fingerprint of the key.
    pub key: Option<Fingerprint>,
    /// How.
    pub algorithm: Option<Algorithm>,
    /// Whose key it is: from the trust file or the certificate. Of a stranger it is what he calls himself.
    pub signer: Option<String>,
    /// Since when the key is trusted here, where that was noted.
    pub since: Option<Date>,
    /// When it was signed.
    pub date: Option<Date>,
    /// SHA-256 of the whole file, as signed.
    pub sha256: Option<Digest>,
    /// Whether something says that this file should be signed by a certain key: a line of the trust file for this
    /// very place, or a key in the URI.
    pub expected: bool,
    /// Whether nobody is trusted at all, so that a stranger's key means as little as none.
    pub nobody_trusted: bool,
    /// Why, in a sentence without its subject.
    pub reason: String,
}

impl Verdict {
    /// Whether the file may be taken when nobody is asked, or who was asked does not know.
    pub fn is_fine(&self, policy: Policy) -> bool {
        match policy {
            Policy::Off | Policy::Report => true,
            Policy::Require => self.status == Status::Good,
            Policy::Ask => match self.status {
                Status::Good => true,
                Status::Unsigned => !self.expected,
                Status::UnknownKey => self.nobody_trusted,
                _ => false,
            },
        }
    }
}

/// One file, and what is said of it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Host of the server, as the user wrote it.
    pub host: &'a str,
    /// Port of the server.
    pub port: u16,
    /// The file.
    pub path: &'a UrlPath,
    /// How it is cut; signatures are over exactly this.
    pub layout: Layout,
    /// Its version.
    pub root: Digest,
    /// All signatures there are.
    pub signatures: &'a [FileSignature],
    /// Keys that the user's URI names. Where there are any, only they count.
    pub pinned: &'a [Fingerprint],
    /// Now.
    pub now: Date,
}

/// Comes to verdicts. Keeps the keys that it has checked, since that takes longer than verifying a signature.
#[derive(Debug, Default)]
pub struct Judge {
    keys: HashMap<Digest, Result<Signer, String>>,
}

/// More keys than this are not kept.
const MAX_KEPT: usize = 64;

#[derive(Debug, Clone)]
struct Signer {
    key: PublicKey,
    chain: Option<Chain>,
}

impl Judge {
    /// The verdict over a file: that of its best signature by somebody who is trusted; else the worst.
    pub fn judge(&mut self, question: &Question<'_>, trust: &Trust, seen: &Seen) -> Verdict {
        let Question { host, port, path, .. } = *question;
        // Whoever is trusted everywhere need not be the one who signs here.
        let has_key = trust.keys(host, port, path).any(|(place, ..)| *place != super::Place::Everywhere);
        let has_own = has_key || !question.pinned.is_empty();
        let expected = has_own || trust.has_authority_for(host, port, path);
        let base = Verdict {
            status: Status::Unsigned,
            server: (host.to_owned(), port),
            path: path.clone(),
            key: None,
            algorithm: None,
            signer: None,
            since: None,
            date: None,
            sha256: None,
            expected,
            nobody_trusted: trust.is_nobodys() && question.pinned.is_empty(),
            reason: if expected { "is not signed, but should be".into() } else { "is not signed".into() },
        };
        if question.signatures.len() > limits::MAX_SIGNATURES {
            let reason = format!("has more than {} signatures", limits::MAX_SIGNATURES);
            return Verdict { status: Status::Bad, reason, ..base };
        }
        let mut manifest = "";
        let mut worst = base.clone();
        let mut rollback = None;
        for signature in question.signatures {
            if !signature.manifest.is_empty() {
                manifest = &signature.manifest;
            }
            let verdict = self.examine(question, trust, seen, signature, manifest, has_own, base.clone());
            match verdict.status {
                Status::Good => return verdict,
                Status::Rollback => rollback = Some(verdict),
                status if status as u8 > worst.status as u8 => worst = verdict,
                _ => {}
            }
        }
        rollback.unwrap_or(worst)
    }

    /// One signature. `has_own`: certain keys are known to sign here.
    #[allow(clippy::too_many_arguments, reason = "all of them are what a verdict depends on")]
    fn examine(
        &mut self,
        question: &Question<'_>,
        trust: &Trust,
        seen: &Seen,
        signature: &FileSignature,
        manifest: &str,
        has_own: bool,
        base: Verdict,
    ) -> Verdict {
        let Question { host, port, path, layout, root, pinned, now, .. } = *question;
        let bad = |base: Verdict, reason: String| Verdict { status: Status::Bad, reason, ..base };
        let Signer { key, chain } = match self.signer(&signature.key) {
            Ok(signer) => signer,
            Err(reason) => return bad(base, format!("is signed with a {reason}")),
        };
        let (fingerprint, algorithm) = (key.fingerprint(), key.algorithm());
        let signer = chain.as_ref().map(Chain::signer);
        let base = Verdict { key: Some(fingerprint), algorithm: Some(algorithm), signer, ..base };
        if signature.algorithm != algorithm.name() || algorithm == Algorithm::Rsa {
            return bad(base, "is signed with an algorithm that does not belong to the key".into());
        }
        if key.verify(manifest.as_bytes(), &signature.value.0).is_err() {
            return bad(base, "has a signature that does not match".into());
        }
        let manifest = match Manifest::parse(manifest) {
            Ok(manifest) => manifest,
            Err(error) => return bad(base, format!("is signed with a {error}")),
        };
        let base = Verdict { date: Some(manifest.date), sha256: Some(manifest.sha256), ..base };
        if manifest.path != *path {
            return bad(base, format!("has a signature for another file, {}", manifest.path));
        }
        if manifest.root != root || manifest.layout != layout {
            return bad(base, "is not what was signed".into());
        }
        if trust.is_revoked(&fingerprint) {
            return bad(base, "is signed with a key that was revoked".into());
        }

        let known = trust.keys(host, port, path).find(|(_, key, ..)| **key == fingerprint);
        let (trusted, reason) = if !pinned.is_empty() {
            (pinned.contains(&fingerprint), None)
        } else if known.is_some() {
            (true, None)
        } else if let Some(chain) = &chain {
            match chain.validate(&trust.anchors(host, port, path), now) {
                Ok(()) => (true, None),
                Err(error @ (ChainError::Expired(_) | ChainError::NotYet(_))) => {
                    let reason = format!("is signed with a {error}");
                    return Verdict { status: Status::Expired, reason, ..base };
                }
                Err(error) => (false, Some(error)),
            }
        } else {
            (false, None)
        };
        let (since, label) = known.map_or((None, ""), |(_, _, since, label)| (since, label));
        let signer = Some(label.to_owned()).filter(|label| !label.is_empty()).or(base.signer.clone());
        let base = Verdict { since, signer, ..base };
        if !trusted {
            let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let (status, reason) = if has_own {
                (Status::KeyChanged, format!("is signed with another key than before{why}"))
            } else {
                (Status::UnknownKey, format!("is signed with a key that is not known here{why}"))
            };
            return Verdict { status, reason, ..base };
        }
        match seen.newest(path, &fingerprint) {
            Some(newest) if newest > manifest.date => {
                let reason =
                    format!("is an old version, signed {}; {newest} was seen already", manifest.date);
                Verdict { status: Status::Rollback, reason, ..base }
            }
            _ => Verdict { status: Status::Good, reason: "is signed with a trusted key".into(), ..base },
        }
    }

    fn signer(&mut self, text: &str) -> Result<Signer, String> {
        let name = Digest(sha2::Sha256::digest(text).into());
        if let Some(known) = self.keys.get(&name) {
            return known.clone();
        }
        let signer = parse_signer(text);
        if self.keys.len() >= MAX_KEPT {
            self.keys.clear();
        }
        self.keys.insert(name, signer.clone());
        signer
    }
}

fn parse_signer(text: &str) -> Result<Signer, String> {
    if pem::blocks(text, pem::CERTIFICATE).next().is_none() {
        let key = PublicKey::from_pem(text).map_err(|error: KeyError| error.to_string())?;
        return Ok(Signer { key, chain: None });
    }
    let chain = Chain::from_pem(text).map_err(|error| error.to_string())?;
    let key = chain.key().map_err(|error| error.to_string())?.clone();
    Ok(Signer { key, chain: Some(chain) })
}

#[cfg(all(test, feature = "sign"))]
mod tests {
    use super::*;
    use crate::content::keys::{KeyKind, SecretKey};
    use crate::content::trust::{Place, SeenEntry, TrustEntry};
    use crate::content::{PieceSize, manifest::tests::example};
    use crate::wire::Base64;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn secret() -> SecretKey {
        let mut rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
        SecretKey::generate(KeyKind::Ed25519, &mut rng).unwrap()
    }

    fn sign(secret: &SecretKey, manifest: &Manifest) -> FileSignature {
        let manifest = manifest.to_string();
        FileSignature {
            key: secret.public().to_pem(),
            algorithm: secret.public().algorithm().name().to_owned(),
            value: Base64(secret.sign(manifest.as_bytes()).unwrap()),
            manifest,
        }
    }

    struct World {
        trust: Trust,
        seen: Seen,
        pinned: Vec<Fingerprint>,
    }

    impl World {
        fn new() -> Self {
            Self { trust: Trust::default(), seen: Seen::default(), pinned: Vec::new() }
        }

        fn pin(&mut self, place: &str, secret: &SecretKey) {
            let line =
                format!("{place} ed25519 {} 2026-01-01T00:00:00Z Alice", secret.public().fingerprint());
            let trust = Trust::parse(&line).unwrap();
            self.trust.add(trust.entries()[0].clone());
        }

        fn judge(&self, signatures: &[FileSignature]) -> Verdict {
            let Manifest { path, layout, root, .. } = example();
            let question = Question {
                host: "h",
                port: 6086,
                path: &path,
                layout,
                root,
                signatures,
                pinned: &self.pinned,
                now: date("2026-11-24T00:00:00Z"),
            };
            Judge::default().judge(&question, &self.trust, &self.seen)
        }

        fn status(&self, signatures: &[FileSignature]) -> Status {
            self.judge(signatures).status
        }
    }

    #[test]
    fn keys_are_trusted_where_the_file_says() {
        let (alice, mallory) = (secret(), secret());
        let (by_alice, by_mallory) = (sign(&alice, &example()), sign(&mallory, &example()));
        let mut world = World::new();
        assert!(world.judge(std::slice::from_ref(&by_alice)).nobody_trusted);
        world.trust.add_key(secret().public(), "somebody");
        assert_eq!(world.status(std::slice::from_ref(&by_alice)), Status::UnknownKey);
        assert_eq!(world.status(&[]), Status::Unsigned);
        world.pin("other/", &alice);
        world.pin("h/elsewhere", &alice);
        assert_eq!(world.status(std::slice::from_ref(&by_alice)), Status::UnknownKey);
        world.pin("h/dir", &alice);
        let verdict = world.judge(&[by_mallory.clone(), by_alice.clone()]);
        assert_eq!((verdict.status, verdict.signer.as_deref()), (Status::Good, Some("Alice")));
        assert_eq!(verdict.since, Some(date("2026-01-01T00:00:00Z")));
        assert_eq!(world.status(std::slice::from_ref(&by_mallory)), Status::KeyChanged);
        let stripped = world.judge(&[]);
        assert!(stripped.status == Status::Unsigned && stripped.expected && !stripped.is_fine(Policy::Ask));
        world
            .trust
            .add(TrustEntry::Revoked { fingerprint: alice.public().fingerprint(), comment: String::new() });
        assert_eq!(world.status(&[by_alice]), Status::Bad);
    }

    #[test]
    fn a_key_that_is_trusted_everywhere_leaves_others_unknown() {
        let (alice, stranger) = (secret(), secret());
        let mut world = World::new();
        world.trust.add_key(alice.public(), "Alice");
        assert_eq!(world.status(&[sign(&alice, &example())]), Status::Good);
        assert_eq!(world.status(&[sign(&stranger, &example())]), Status::UnknownKey);
        assert!(!world.judge(&[]).expected);
    }

    #[test]
    fn where_an_authority_was_named_files_should_be_signed() {
        let vectors = include_str!("../../../tests/vectors/pkits.txt");
        let root =
            vectors.lines().find_map(|line| line.strip_prefix("certificate TrustAnchorRootCertificate "));
        let mut world = World::new();
        for (place, expected) in [("*", false), ("elsewhere/", false), ("h/dir", true)] {
            let line = format!("@cert-authority {place} x509 {} us", root.unwrap());
            world.trust = Trust::parse(&line).unwrap();
            let verdict = world.judge(&[]);
            assert_eq!((verdict.status, verdict.expected), (Status::Unsigned, expected), "{place}");
            assert_eq!(world.status(&[sign(&secret(), &example())]), Status::UnknownKey);
        }
    }

    #[test]
    fn keys_in_the_uri_count_alone() {
        let (alice, bob) = (secret(), secret());
        let mut world = World::new();
        world.trust.add_key(alice.public(), "Alice");
        world.pinned = vec![bob.public().fingerprint()];
        assert_eq!(world.status(&[sign(&alice, &example())]), Status::KeyChanged);
        assert_eq!(world.status(&[sign(&bob, &example())]), Status::Good);
        assert!(world.judge(&[]).expected);
    }

    #[test]
    fn what_is_not_exactly_what_was_signed_is_bad() {
        let alice = secret();
        let mut world = World::new();
        world.trust.add_key(alice.public(), "Alice");
        let mut other = example();
        other.path = UrlPath::parse("/dir/other").unwrap();
        assert!(world.judge(&[sign(&alice, &other)]).reason.contains("another file, /dir/other"));
        let mut other = example();
        other.root = Digest::default();
        assert!(world.judge(&[sign(&alice, &other)]).reason.contains("not what was signed"));
        let mut other = example();
        other.layout = Layout::new(other.layout.size(), PieceSize::new(131_072).unwrap()).unwrap();
        assert_eq!(world.status(&[sign(&alice, &other)]), Status::Bad);

        let good = sign(&alice, &example());
        let broken = |change: fn(&mut FileSignature)| {
            let mut broken = good.clone();
            change(&mut broken);
            let verdict = world.judge(&[broken]);
            assert_eq!(verdict.status, Status::Bad);
            verdict.reason
        };
        assert!(broken(|s| s.value.0[3] ^= 1).contains("does not match"));
        assert!(broken(|s| s.value.0.push(0)).contains("does not match"));
        assert!(broken(|s| s.manifest.push('\n')).contains("does not match"));
        assert!(broken(|s| s.manifest.clear()).contains("does not match"));
        assert!(broken(|s| s.algorithm = "dsa-sha256".into()).contains("algorithm"));
        assert!(broken(|s| s.key.clear()).contains("not a public key"));
        assert!(
            broken(|s| s.key = s.key.replace("PUBLIC KEY", "CERTIFICATE")).contains("broken certificate")
        );
        assert_eq!(world.status(&[]), Status::Unsigned);
        assert_eq!(world.status(&vec![good.clone(); limits::MAX_SIGNATURES + 1]), Status::Bad);
        // A bad one beside a good one takes nothing from it: who serves the file could leave it out as well.
        let mut bad = good.clone();
        bad.value.0.clear();
        assert_eq!(world.status(&[bad, good]), Status::Good);
    }

    #[test]
    fn a_manifest_that_is_left_out_is_the_one_before() {
        let (alice, bob) = (secret(), secret());
        let mut world = World::new();
        world.trust.add_key(bob.public(), "Bob");
        let second = FileSignature { manifest: String::new(), ..sign(&bob, &example()) };
        assert_eq!(world.status(&[sign(&alice, &example()), second]), Status::Good);
    }

    #[test]
    fn what_is_older_than_what_was_seen_is_a_rollback() {
        let (alice, bob) = (secret(), secret());
        let mut world = World::new();
        world.trust.add_key(alice.public(), "Alice");
        let Manifest { path, .. } = example();
        let key = alice.public().fingerprint();
        let mut note = |date| world.seen.note(SeenEntry { path: path.clone(), key, date });
        note(example().date);
        assert_eq!(world.status(&[sign(&alice, &example())]), Status::Good);
        world.seen.note(SeenEntry { path: path.clone(), key, date: date("2026-11-22T10:00:01Z") });
        assert_eq!(world.status(&[sign(&alice, &example())]), Status::Rollback);
        assert_eq!(world.status(&[sign(&bob, &example()), sign(&alice, &example())]), Status::Rollback);
        world.trust.add_key(bob.public(), "Bob");
        assert_eq!(world.status(&[sign(&bob, &example())]), Status::Good, "another key has its own history");
    }

    #[test]
    fn policies() {
        let verdict = |status, expected, nobody_trusted| {
            let base = World::new().judge(&[]);
            Verdict { status, expected, nobody_trusted, ..base }
        };
        use Status::*;
        for status in [Good, Unsigned, UnknownKey, Rollback, Expired, KeyChanged, Bad] {
            let verdict = verdict(status, false, false);
            assert_eq!(verdict.is_fine(Policy::Require), status == Good);
            assert_eq!(verdict.is_fine(Policy::Ask), matches!(status, Good | Unsigned));
            assert!(verdict.is_fine(Policy::Report) && verdict.is_fine(Policy::Off));
        }
        assert!(!verdict(Unsigned, true, false).is_fine(Policy::Ask));
        assert!(verdict(UnknownKey, false, true).is_fine(Policy::Ask));
        assert!(!verdict(Bad, false, true).is_fine(Policy::Ask));
        assert!(Place::Everywhere.covers("h", 1, &UrlPath::root()));
    }
}
