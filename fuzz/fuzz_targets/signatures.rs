//! Everything that is read of a signature: manifests, sidecars, keys, certificates, trust files; and the verdict over
//! what a sidecar says. The first byte chooses.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pdtp::content::keys::PublicKey;
use pdtp::content::trust::{Judge, Question, Seen, Trust};
use pdtp::content::x509::{Anchor, Chain};
use pdtp::content::{Manifest, Sidecar};

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let now = "2026-11-24T00:00:00Z".parse().unwrap();
    match choice % 4 {
        0 => {
            let Ok(text) = std::str::from_utf8(data) else { return };
            if let Ok(manifest) = Manifest::parse(text) {
                assert_eq!(manifest.to_string(), text);
            }
            let Ok(sidecar) = Sidecar::parse(text) else { return };
            assert_eq!(Sidecar::parse(&sidecar.to_string()).as_ref(), Ok(&sidecar));
            let manifest = &sidecar.manifest;
            let question = Question {
                host: "h",
                port: 6086,
                path: &manifest.path,
                layout: manifest.layout,
                root: manifest.root,
                signatures: &sidecar.signatures,
                pinned: &[],
                now,
            };
            Judge::default().judge(&question, &Trust::default(), &Seen::default());
        }
        1 => {
            if let Ok(key) = PublicKey::from_der(data) {
                assert_eq!(key.as_der(), data);
                assert!(key.verify(b"message", data).is_err());
                assert_eq!(PublicKey::from_pem(&key.to_pem()), Ok(key));
            }
        }
        2 => {
            // Certificates one after the other, each behind its length.
            let (mut ders, mut rest) = (Vec::new(), data);
            while let Some((length, after)) = rest.split_first_chunk::<2>() {
                let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
                let (der, more) = after.split_at(length);
                ders.push(der.to_vec());
                rest = more;
            }
            let anchors: Vec<_> = ders.last().cloned().and_then(|der| Anchor::from_der(der).ok()).into_iter().collect();
            if let Ok(chain) = Chain::from_der(ders) {
                let _ = (chain.key().is_ok(), chain.signer());
                let _ = chain.validate(&anchors, now);
            }
        }
        _ => {
            let Ok(text) = std::str::from_utf8(data) else { return };
            if let Ok(trust) = Trust::parse(text) {
                for entry in trust.entries() {
                    let line = entry.to_string();
                    let again = Trust::parse(&line).unwrap();
                    assert_eq!(again.entries()[0].to_string(), line);
                }
            }
            let seen = Seen::parse(text).to_text();
            assert_eq!(Seen::parse(&seen).to_text().len(), seen.len());
        }
    }
});
