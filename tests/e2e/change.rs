//! "If the file changes while I fetch it, I get one version or an error, never a mix."

use std::path::Path;

use crate::common::*;

const SIZE: usize = 16 << 20;

fn begun(server: &Pdtpd, target: &Path) -> Proc {
    let uri = server.uri("/big");
    let client = pdtp_start(&["get", "--json", "--limit-down", "5M", &uri, "-o", target.to_str().unwrap()]);
    wait_until("the download to be under way", PATIENCE, || {
        client.stdout().lines().any(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            event["event"] == "progress" && event["done"].as_u64() > Some(1 << 20)
        })
    });
    client
}

/// `new` in place of `/big`, the way an editor saves.
fn replace(server: &Pdtpd, new: &[u8]) {
    let (temporary, name) = (server.dir().join(".new"), server.dir().join("big"));
    std::fs::write(&temporary, new).unwrap();
    std::fs::rename(&temporary, &name).unwrap();
}

#[track_caller]
fn assert_one_version(run: Run, target: &Path, versions: &[&[u8]]) {
    match run.code() {
        0 => {
            let got = std::fs::read(target).unwrap();
            assert!(versions.iter().any(|version| **version == got), "a mix of versions");
        }
        4 | 6 => {
            assert!(!target.exists());
            assert!(!run.stderr.is_empty());
        }
        _ => panic!("neither a version nor a clear error: {run:?}"),
    }
}

#[test]
fn replaced_by_another_file() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let (old, new) = (std::fs::read(served.path().join("big")).unwrap(), content(77, SIZE + 12_345));
    let target = here.path().join("big");
    let client = begun(&server, &target);
    replace(&server, &new);
    assert_one_version(client.finish(PATIENCE), &target, &[&old, &new]);
}

#[test]
fn who_has_begun_finishes_the_old_version_and_who_comes_gets_the_new() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let (old, new) = (std::fs::read(served.path().join("big")).unwrap(), content(77, SIZE + 12_345));
    let targets = [here.path().join("one"), here.path().join("two")];
    let clients = targets.each_ref().map(|target| begun(&server, target));
    replace(&server, &new);
    let late = here.path().join("late");
    pdtp(&["get", &server.uri("/big"), "-o", late.to_str().unwrap()]).expect(0);
    assert_eq!(std::fs::read(late).unwrap(), new);
    std::fs::remove_file(served.path().join("big")).unwrap();
    for (client, target) in clients.into_iter().zip(&targets) {
        client.finish(PATIENCE).expect(0);
        assert!(std::fs::read(target).unwrap() == old, "not the version that was begun with");
    }
}

#[test]
fn an_old_version_is_not_given_when_the_operator_does_not_want_it() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &["--old-version-grace", "0"]), scratch());
    let new = content(77, SIZE + 12_345);
    let target = here.path().join("big");
    let uri = server.uri("/big");
    // Slow enough not to be done before anybody has looked.
    let client = pdtp_start(&["get", "--json", "--limit-down", "1M", &uri, "-o", target.to_str().unwrap()]);
    wait_until("begun", PATIENCE, || client.stdout().contains("\"progress\""));
    replace(&server, &new);
    client.finish(PATIENCE).expect(0);
    assert_eq!(std::fs::read(target).unwrap(), new);
}

#[test]
fn changed_in_place() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let old = std::fs::read(served.path().join("big")).unwrap();
    let mut new = old.clone();
    new[SIZE / 2..].copy_from_slice(&content(5, SIZE / 2));
    let target = here.path().join("big");
    let client = begun(&server, &target);
    std::fs::write(served.path().join("big"), &new).unwrap();
    assert_one_version(client.finish(PATIENCE), &target, &[&old, &new]);
}

#[test]
fn truncated() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let old = std::fs::read(served.path().join("big")).unwrap();
    let target = here.path().join("big");
    let client = begun(&server, &target);
    std::fs::File::options().write(true).open(served.path().join("big")).unwrap().set_len(3 << 20).unwrap();
    assert_one_version(client.finish(PATIENCE), &target, &[&old, &old[..3 << 20]]);
}

#[test]
fn removed() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let old = std::fs::read(served.path().join("big")).unwrap();
    let target = here.path().join("big");
    let client = begun(&server, &target);
    std::fs::remove_file(served.path().join("big")).unwrap();
    // Whoever has it open may still give it; who does not says so.
    assert_one_version(client.finish(PATIENCE), &target, &[&old]);
    pdtp(&["get", &server.uri("/big"), "-o", here.path().join("late").to_str().unwrap()]).expect(4);
}

#[test]
fn renames_without_end_leave_whole_versions_behind() {
    let served = make_tree(&[("big", SIZE)]);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    let mut versions = vec![std::fs::read(served.path().join("big")).unwrap()];
    versions.extend((0..4).map(|seed| content(100 + seed, SIZE / 2 + seed as usize * 1000)));
    let targets: Vec<_> = (0..3).map(|number| here.path().join(number.to_string())).collect();
    let mut clients: Vec<_> = targets.iter().map(|target| begun(&server, target)).collect();
    // The name goes from version to version, comes and goes, and moves away and back, until all are done with it.
    let (name, aside) = (served.path().join("big"), served.path().join("aside"));
    for round in 0.. {
        if !clients.iter_mut().any(Proc::is_running) {
            break;
        }
        assert!(round < 20_000, "they never end");
        replace(&server, &versions[round % versions.len()]);
        std::fs::rename(&name, &aside).unwrap();
        std::fs::rename(&aside, &name).unwrap();
    }
    let all: Vec<&[u8]> = versions.iter().map(Vec::as_slice).collect();
    for (client, target) in clients.into_iter().zip(&targets) {
        assert_one_version(client.finish(PATIENCE), target, &all);
    }
    // What is there now is what is listed and what comes.
    replace(&server, &versions[0]);
    let late = here.path().join("late");
    pdtp(&["get", &server.uri("/big"), "-o", late.to_str().unwrap()]).expect(0);
    assert!(std::fs::read(late).unwrap() == versions[0]);
}
