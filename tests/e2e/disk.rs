//! "A full disk is said clearly, and loses nothing." Needs root, for a small file system of its own.

use std::path::Path;
use std::process::Command;

use crate::common::*;

const MIB: usize = 1 << 20;

/// A tmpfs of so many MiB, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(mib: usize) -> Option<Self> {
        let dir = scratch();
        let options = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "pdtp-test"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self, mib: usize) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,size={mib}m")])
            .arg(self.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let Some(small) = Tmpfs::mount(8) else {
        eprintln!("SKIPPED: a full disk cannot be tested: no tmpfs can be mounted here (root is needed)");
        return;
    };
    let served = make_tree(&[("big", 16 * MIB)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let target = small.path().join("big");
    let args = ["get", "--json", &server.uri("/big"), "-o", target.to_str().unwrap()];
    let run = pdtp(&args).expect(8);
    assert_eq!(run.event("error")["kind"], "no_space");
    assert!(run.stderr.contains("again"), "says how to go on: {}", run.stderr);
    assert!(!target.exists());
    small.grow(40);
    let done = pdtp(&args).expect(0).event("done");
    assert!(done["from_disk"].as_u64().unwrap() > 2 * MIB as u64, "what had come is used: {done}");
    assert_same_file(&served.path().join("big"), &target);
}

#[test]
fn a_read_only_disk_is_said() {
    let Some(disk) = Tmpfs::mount(8) else {
        eprintln!(
            "SKIPPED: a read-only disk cannot be tested: no tmpfs can be mounted here (root is needed)"
        );
        return;
    };
    let status = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status().unwrap();
    assert!(status.success());
    let served = make_tree(&[("a", 1000)]);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let run = pdtp(&["get", &server.uri("/a"), "-o", disk.path().join("a").to_str().unwrap()]).expect(7);
    assert!(run.stderr.contains("-o"), "says what to do: {}", run.stderr);
}
