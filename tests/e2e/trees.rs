//! "With -r I get the directory, whatever the files in it are called."

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::common::*;

/// Names that break programs which think of names as text, as shell words, as URLs, or as lines.
fn hostile_names() -> Vec<OsString> {
    let mut names: Vec<OsString> = [
        "with space",
        " leading and trailing ",
        "100%",
        "%41",
        "a#b",
        "a?b=c&d",
        "a+b",
        "-rf",
        "--help",
        "new\nline",
        "tab\tand\x1b[31mred",
        "quote\"'`$(x)",
        "back\\slash",
        "colon:name",
        "straße-中文-🙂",
        "e\u{301}",
        "[brackets]{braces}",
        "~",
        "...",
        "con",
        "a.part",
    ]
    .into_iter()
    .map(OsString::from)
    .collect();
    names.push(OsString::from_vec(b"latin1-\xe4\xff".to_vec()));
    names.push(OsString::from("x".repeat(200)));
    names
}

#[test]
fn hostile_names_survive() {
    let served = scratch();
    for (index, name) in hostile_names().iter().enumerate() {
        make_file(served.path(), name, index * 1000);
        let mut inside = name.clone();
        inside.push(".dir/file");
        make_file(served.path(), inside, 10);
    }
    // Some of the names begin with a dot.
    let (server, here) = (Pdtpd::start(served.path(), &["--hidden"]), scratch());
    let copy = here.path().join("copy");
    let run =
        pdtp(&["get".as_ref(), "-r".as_ref(), server.uri("/").as_ref(), "-o".as_ref(), copy.as_os_str()])
            .expect(0);
    assert_same_tree(served.path(), &copy);
    // The report of it is harmless, too.
    assert!(!run.stderr.contains('\x1b'), "{}", run.stderr);
}

#[test]
fn deep_wide_and_empty_directories() {
    let served = scratch();
    for index in 0..300 {
        make_file(served.path(), format!("wide/{index:03}"), index % 7 * 20_000);
    }
    make_file(served.path(), format!("{}/bottom", ["deep"; 30].join("/")), 100_000);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let copy = here.path().join("copy");
    let args = ["get", "--json", "-r", &server.uri("/"), "-o", copy.to_str().unwrap()];
    let run = pdtp(&args).expect(0);
    assert_same_tree(served.path(), &copy);
    let done = run.event("done");
    assert_eq!(done["files"], 301);
    let files = run.json().iter().filter(|event| event["event"] == "file_done").count();
    assert_eq!(files, 301);
    // The same command again finds it all, and fetches nothing.
    let again = pdtp(&args).expect(0).event("done");
    assert_eq!(again["already_complete"], true, "{again}");
    assert_eq!(again["from_origin"], 0, "{again}");
    assert_same_tree(served.path(), &copy);
}

#[test]
fn a_subdirectory_goes_under_its_own_name() {
    let served = make_tree(&[("a/b/c", 1000), ("a/d", 2000), ("other", 1)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    pdtp_in(here.path(), &["get", "-r", &server.uri("/a")]).expect(0);
    assert_same_tree(&served.path().join("a"), &here.path().join("a"));
    pdtp_in(here.path(), &["get", "-r", &server.uri("/a/"), "-o", "into/"]).expect(0);
    assert_same_tree(&served.path().join("a"), &here.path().join("into/a"));
    // A file with -r is just a file.
    pdtp_in(here.path(), &["get", "-r", &server.uri("/a/d"), "-o", "d"]).expect(0);
    assert_same_file(&served.path().join("a/d"), &here.path().join("d"));
}

#[test]
fn a_directory_without_r_says_what_to_add() {
    let served = make_tree(&[("dir/file", 10)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    for path in ["/dir/", "/dir", "/"] {
        let run = pdtp_in(here.path(), &["get", &server.uri(path)]).expect(2);
        assert!(run.stderr.contains("add -r"), "{path}: {}", run.stderr);
    }
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}
