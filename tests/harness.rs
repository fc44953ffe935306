//! The harness itself: what the other tests lean on must be able to fail.

pub mod common;

use std::path::Path;

use common::*;

#[test]
fn content_is_deterministic_and_differs_by_seed() {
    assert_eq!(content(1, 1000), content(1, 1000));
    assert_eq!(content(1, 1001)[..1000], content(1, 1000)[..]);
    assert_ne!(content(1, 1000), content(2, 1000));
}

#[test]
fn equal_trees_are_equal_and_a_changed_byte_shows() {
    let files = [("a", 10), ("d/b", 100_000), ("d/e/empty", 0)];
    let (one, two) = (make_tree(&files), make_tree(&files));
    assert_same_tree(one.path(), two.path());
    let mut bytes = std::fs::read(two.path().join("d/b")).unwrap();
    bytes[99_999] ^= 1;
    std::fs::write(two.path().join("d/b"), bytes).unwrap();
    assert_ne!(tree_sums(one.path())[Path::new("d/b")], tree_sums(two.path())[Path::new("d/b")]);
}

#[test]
fn a_server_starts_answers_restarts_on_its_port_and_ends() {
    let dir = make_tree(&[("a", 1000)]);
    let mut server = Pdtpd::start(dir.path(), &[""; 0]);
    let port = server.port();
    assert!(server.status().is_object());
    server.kill9();
    server.restart();
    assert_eq!(server.port(), port);
    assert!(server.status().is_object());
    assert_eq!(server.terminate().code(), Some(0));
}
