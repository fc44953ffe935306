//! What is printed: nothing with -q, JSON with --json, words for people otherwise.

use crate::common::*;

#[test]
fn json_lines_are_events_that_add_up() {
    let served = make_tree(&[("a", 4_000_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let target = here.path().join("a");
    let uri = server.uri("/a");
    let run = pdtp(&["get", "--json", "--limit-down", "2M", &uri, "-o", target.to_str().unwrap()]).expect(0);
    assert_eq!(run.stderr, "");
    let events = run.json();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(names.contains(&"start") && names.contains(&"session"), "{names:?}");
    assert_eq!(names.last(), Some(&"done"), "{names:?}");
    let done = run.event("done");
    assert_eq!(done["size"], 4_000_000);
    assert_eq!(done["from_origin"], 4_000_000);
    assert_eq!(done["local"], target.to_str().unwrap());
    assert_eq!(done["already_complete"], false);
    assert_eq!(done["root"].as_str().map(str::len), Some(64));
    let progress: Vec<_> = events.iter().filter(|event| event["event"] == "progress").collect();
    assert!(!progress.is_empty());
    // At most two a second, and one more for where the counting begins.
    let most = done["seconds"].as_f64().unwrap() * 2.0 + 2.0;
    assert!(progress.len() as f64 <= most, "{} in {most}", progress.len());
    assert!(progress.windows(2).all(|pair| pair[0]["done"].as_u64() <= pair[1]["done"].as_u64()));
}

#[test]
fn a_file_has_the_users_defaults_and_arguments_win() {
    let served = make_tree(&[("a", 6 << 20)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let uri = server.uri("/a");
    let seconds = |args: &[&str]| {
        let all: Vec<&str> =
            ["get", "--json", "--overwrite", "replace", &uri].iter().chain(args).copied().collect();
        pdtp_in(here.path(), &all).expect(0).event("done")["seconds"].as_f64().unwrap()
    };
    std::fs::write(here.path().join("slow.toml"), "limit_down = \"3M\" # here\nlog-level = \"info\"\n")
        .unwrap();
    assert!(seconds(&["--config", "slow.toml"]) > 1.2);
    assert!(seconds(&["--config", "slow.toml", "--limit-down", "2M"]) > 1.8);
    let told = pdtp_in(here.path(), &["cat", "--range", "0-9", "--config", "slow.toml", &uri]).expect(0);
    assert!(told.stderr.contains("transfer begins"), "the log is turned on: {}", told.stderr);
    let quiet = ["cat", "--range", "0-9", "--config", "slow.toml", "-O", "log_level=off", &uri];
    assert_eq!(pdtp_in(here.path(), &quiet).expect(0).stderr, "");

    std::fs::write(here.path().join("wrong.toml"), "limt_down = 5\n").unwrap();
    let wrong = pdtp_in(here.path(), &["ls", "--config", "wrong.toml", &server.uri("/")]).expect(2);
    assert!(wrong.stderr.contains("wrong.toml") && wrong.stderr.contains("limit_down"), "{}", wrong.stderr);
    let none = pdtp_in(here.path(), &["ls", "--config", "none.toml", &server.uri("/")]).expect(2);
    assert!(none.stderr.contains("none.toml"), "{}", none.stderr);

    // Where it is looked for unless it is named.
    std::fs::create_dir(here.path().join("pdtp")).unwrap();
    std::fs::rename(here.path().join("wrong.toml"), here.path().join("pdtp/pdtp.toml")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pdtp"));
    command.env("XDG_CONFIG_HOME", here.path()).args(["ls", &server.uri("/")]);
    let wrong = Proc::spawn(command).finish(PATIENCE).expect(2);
    assert!(wrong.stderr.contains("pdtp/pdtp.toml"), "{}", wrong.stderr);
}

#[test]
fn the_rate_limit_holds() {
    let served = make_tree(&[("a", 6 << 20)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let uri = server.uri("/a");
    let run = pdtp_in(here.path(), &["get", "--json", "--limit-down", "3M", &uri]).expect(0);
    let seconds = run.event("done")["seconds"].as_f64().unwrap();
    assert!(seconds > 1.2, "6 MiB at 3 MiB/s in {seconds} s");
}

#[test]
fn quiet_is_quiet_but_for_errors() {
    let served = make_tree(&[("a", 100_000)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let run = pdtp_in(here.path(), &["get", "-q", &server.uri("/a")]).expect(0);
    assert_eq!((run.text().as_str(), run.stderr.as_str()), ("", ""));
    let run = pdtp_in(here.path(), &["get", "-q", &server.uri("/b")]).expect(4);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn without_a_terminal_there_is_one_line() {
    let served = make_tree(&[("a", 1 << 20)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let run = pdtp_in(here.path(), &["get", &server.uri("/a")]).expect(0);
    assert_eq!(run.text(), "");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    for part in ["a: 1.0 MiB in ", "1.0 MiB from the origin", "0 B from peers (0%)"] {
        assert!(run.stderr.contains(part), "no {part:?} in {}", run.stderr);
    }
}

#[test]
fn verbose_tells_the_exchanges() {
    let served = make_tree(&[("a", 1 << 20)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let run = pdtp_in(here.path(), &["get", "-v", &server.uri("/a")]).expect(0);
    assert!(run.stderr.contains("from the origin: piece"), "{}", run.stderr);
}

#[test]
fn errors_are_events_too() {
    let served = make_tree(&[("a", 1)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let run = pdtp_in(here.path(), &["get", "--json", &server.uri("/nothing")]).expect(4);
    let error = run.event("error");
    assert_eq!(error["kind"], "not_found");
    assert_eq!(error["code"], 4);
    assert!(error["message"].as_str().is_some_and(|message| message.contains("nothing")), "{error}");
}
