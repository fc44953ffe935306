//! The path validation tests of NIST's PKITS that are about what is checked here.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Anchor, Chain};

#[test]
fn chains_of_pkits() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/pkits.txt");
    let text = std::fs::read_to_string(file).unwrap();
    let mut certificates = HashMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut wrong = Vec::new();
    // The suite's good certificates are valid from 2010 to 2030.
    let now = "2026-11-24T00:00:00Z".parse().unwrap();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["certificate", name, base64] => {
                certificates.insert(name, STANDARD.decode(base64).unwrap());
            }
            ["test", ref rest @ ..] => {
                let at = rest.iter().position(|word| ["valid", "invalid", "strict"].contains(word)).unwrap();
                let kind = rest[at];
                let anchor = Anchor::from_der(certificates["TrustAnchorRootCertificate"].clone()).unwrap();
                let chain = rest[at + 1..].iter().map(|name| certificates[name].clone()).collect();
                let result = Chain::from_der(chain).and_then(|chain| {
                    // What a signer's signature is verified with.
                    chain.key()?;
                    chain.validate(&[anchor], now)
                });
                if result.is_ok() != (kind == "valid") {
                    wrong.push(format!("{line}: {result:?}"));
                }
                *counts.entry(kind).or_default() += 1;
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts["valid"] >= 25 && counts["invalid"] >= 35, "{counts:?}");
}
