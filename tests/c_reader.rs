//! Readers and bytes as events through the C ABI: `tests/c/reader.c`, `tests/c/data.c` and `examples-c/stream.c`, against a
//! real server.

#![cfg(unix)]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use c::compile;
use common::*;

/// Takes a good while at the rate that the slow clients of `reader.c` allow themselves.
const FILE_SIZE: usize = 5_000_003;

fn run(program: &str, test: &str) {
    let served = make_tree(&[("film", FILE_SIZE)]);
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let program = compile("cc", program);
    program.run(&[test, &server.uri("/film"), served.path().join("film").to_str().unwrap()]).expect(0);
}

macro_rules! tests_of {
    ($program:literal $module:ident: $($name:ident)*) => {
        mod $module {
            $(#[test]
            fn $name() {
                super::run($program, stringify!($name));
            })*

            /// A test that nobody runs is none.
            #[test]
            fn all_of_them_are_run() {
                let text = std::fs::read_to_string(super::c::source($program)).unwrap();
                let there = text.lines().filter_map(|line| line.trim().strip_prefix("TEST(")?.strip_suffix("),"));
                assert_eq!(there.collect::<Vec<_>>(), [$(stringify!($name)),*]);
            }
        }
    };
}

tests_of! {
    "tests/c/reader.c" reading:
    all
    seek
    timeout
    cancel
    free_client_first
    interrupt
    reentrant
    fork
    threads
    nonsense
}

tests_of! {
    "tests/c/data.c" events:
    pulled
    range
    dispatched
    aborted
    freed
}

#[test]
fn example_stream_plays_from_anywhere() {
    let served = make_tree(&[("film", FILE_SIZE), ("empty", 0)]);
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let film = std::fs::read(served.path().join("film")).unwrap();
    let stream = compile("cc", "examples-c/stream.c");
    let uri = server.uri("/film");
    let played = |args: &[&str]| stream.run(args).expect(0).stdout;
    assert!(played(&[&uri]) == film);
    assert!(played(&["-s", "4000000", &uri]) == film[4_000_000..]);
    assert!(played(&["-s", "-1000", &uri]) == film[FILE_SIZE - 1000..]);
    assert!(played(&["-s", "123456", "-n", "70000", &uri]) == film[123_456..193_456]);
    assert!(played(&["-s", "99999999", &uri]).is_empty(), "past the end");
    assert!(played(&[&server.uri("/empty")]).is_empty());
    let run = stream.run(&[&server.uri("/missing")]).expect(1);
    assert!(run.stderr.contains("PDTP_E_NOT_FOUND"), "{}", run.stderr);
    let run = stream.run(&["-s", "-9999999", &uri]).expect(1);
    assert!(run.stderr.contains("PDTP_E_ARGUMENT"), "{}", run.stderr);
    stream.run(&[] as &[&str]).expect(2);
}
