//! "I have that file already: let others have it from me."

use crate::common::*;

fn events(proc: &Proc, kind: &str) -> Vec<serde_json::Value> {
    let said = proc.stdout();
    let whole = &said[..said.rfind('\n').map_or(0, |at| at + 1)];
    let all = whole.lines().map(|line| serde_json::from_str(line).unwrap());
    all.filter(|event: &serde_json::Value| event["event"] == kind).collect()
}

#[test]
fn a_local_copy_is_given_and_nothing_else() {
    let served = make_tree(&[("dir/big", 3_000_000), ("dir/other", 500_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let (big, other) = (here.path().join("big"), here.path().join("other"));
    std::fs::copy(served.path().join("dir/big"), &big).unwrap();
    std::fs::write(&other, content(9, 500_000)).unwrap();
    let files = [big.to_str().unwrap(), other.to_str().unwrap()];
    let sharing = pdtp_start(&["share", "--json", &server.uri("/dir/"), files[0], files[1]]);
    let states = |state: &str| {
        let all = events(&sharing, "share").into_iter().filter(|event| event["state"] == state);
        all.map(|event| event["local"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    wait_until("both are judged", PATIENCE, || {
        states("offered") == [files[0]] && states("failed") == [files[1]]
    });
    let copy = here.path().join("copy");
    let run = pdtp(&["get", "--json", "--no-give", &server.uri("/dir/big"), "-o", copy.to_str().unwrap()]);
    let done = run.expect(0).event("done");
    assert!(done["from_peers"].as_u64().unwrap() > 0, "{done}");
    assert_same_file(&big, &copy);
    sharing.signal(libc::SIGINT);
    // One of them could not be given.
    let run = sharing.finish(PATIENCE).expect(6);
    assert!(run.stderr.contains("is another file than the one on the server"), "{}", run.stderr);
}

#[test]
fn ctrl_c_is_how_it_ends() {
    let served = make_tree(&[("big", 300_000)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let file = served.path().join("big");
    let sharing = pdtp_start(&["share", &server.uri("/big"), file.to_str().unwrap()]);
    wait_until("it is said", PATIENCE, || sharing.stderr().contains("is given to others; Ctrl-C ends it"));
    sharing.signal(libc::SIGINT);
    sharing.finish(PATIENCE).expect(0);
    pdtp(&["share", "--for", "100ms", &server.uri("/big"), file.to_str().unwrap()]).expect(0);
    let run = pdtp(&["share", &server.uri("/big"), file.to_str().unwrap(), "second"]).expect(2);
    assert!(run.stderr.contains("end the URI with /"), "{}", run.stderr);
    pdtp(&["share", &server.uri("/none"), file.to_str().unwrap()]).expect(4);
    pdtp(&["share", &server.uri("/big"), "no such file"]).expect(7);
    let run = pdtp(&["share", "--no-give", &server.uri("/big"), file.to_str().unwrap()]).expect(1);
    assert!(run.stderr.contains("seeding is off"), "{}", run.stderr);
}
