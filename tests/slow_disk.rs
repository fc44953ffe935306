//! A disk below the served tree that comes and goes.
//!
//! Mounts a tmpfs and waits for two scans: only with PDTP_SLOW=1 (`make check-slow`), and as root.

#![cfg(target_os = "linux")]

pub mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::*;

/// More than two scans.
const SCANS: Duration = Duration::from_secs(200);

/// A mounted file system, gone at the end whatever happens.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn plug_in(place: &'a Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(place).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()).then_some(Self(place))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Whoever has a file of it open keeps it to the end.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_disk_is_pulled_out_and_plugged_in_again() {
    if std::env::var_os("PDTP_SLOW").is_none() {
        eprintln!("skipped: PDTP_SLOW is not set");
        return;
    }
    let served = make_tree(&[("here", 1000)]);
    let place = served.path().join("disk");
    std::fs::create_dir(&place).unwrap();
    let Some(disk) = Disk::plug_in(&place) else {
        eprintln!("skipped: no permission to mount");
        return;
    };
    make_file(&place, "a", 3 << 20);
    make_file(&place, "d/b", 1000);
    let (server, here) = (Pdtpd::start(served.path(), &[""; 0]), scratch());
    wait_until("hashed", PATIENCE, || server.status()["files"]["hashed"] == 3);
    let watcher = pdtp_start(&["watch", "--json", &server.uri("/")]);
    wait_until("watching", PATIENCE, || watcher.stdout().contains("\"watching\""));
    // Under way when the disk goes: what is open can still be read, and it ends with the whole file.
    let target = here.path().join("a");
    let uri = server.uri("/disk/a");
    let client = pdtp_start(&["get", "--json", "--limit-down", "1M", &uri, "-o", target.to_str().unwrap()]);
    wait_until("begun", PATIENCE, || client.stdout().contains("\"progress\""));
    let content = std::fs::read(place.join("a")).unwrap();
    drop(disk);
    client.finish(PATIENCE).expect(0);
    assert_eq!(std::fs::read(target).unwrap(), content);
    pdtp(&["get", &uri, "-o", here.path().join("late").to_str().unwrap()]).expect(4);
    for path in ["/disk/a", "/disk/d/b"] {
        let gone = format!("\"event\":\"removed\",\"path\":\"{path}\"");
        wait_until("told that it is gone", SCANS, || watcher.stdout().contains(&gone));
    }
    assert!(!watcher.stdout().contains("/here\""), "what is there is not mentioned");
    // Back again, with something new.
    let _disk = Disk::plug_in(&place).unwrap();
    make_file(&place, "new", 5000);
    let back = "\"path\":\"/disk/new\"";
    wait_until("told that it is there", SCANS, || watcher.stdout().contains(back));
    pdtp(&["get", &server.uri("/disk/new"), "-o", here.path().join("new").to_str().unwrap()]).expect(0);
}
