//! "A full disk is said clearly, and loses nothing." Needs root, for a small file system of its own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::*;

const MIB: usize = 1 << 20;

/// A tmpfs of so many MiB, and another place where it is mounted; unmounted when dropped.
struct Tmpfs(tempfile::TempDir, RefCell<Option<PathBuf>>);

impl Tmpfs {
    fn mount(mib: usize) -> Option<Self> {
        let dir = scratch();
        let options = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "pdtp-test"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(dir, RefCell::default()))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// From now on it is at another place.
    fn move_to(&self, place: &Path) {
        let status = Command::new("mount").arg("--bind").args([self.path(), place]).status().unwrap();
        assert!(status.success());
        *self.1.borrow_mut() = Some(place.to_owned());
    }

    /// As if it had been pulled out: whoever has something open keeps it.
    fn pull_out(&self) {
        for place in self.1.take().iter().map(PathBuf::as_path).chain([self.path()]) {
            assert!(Command::new("umount").arg("-l").arg(place).status().unwrap().success());
        }
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
        for place in self.1.take().iter().map(PathBuf::as_path).chain([self.path()]) {
            let _ = Command::new("umount").args(["-q", "-l"]).arg(place).status();
        }
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

#[test]
fn a_served_disk_that_is_pulled_out_is_no_deletion() {
    let Some(mut disk) = Tmpfs::mount(64) else {
        eprintln!("SKIPPED: a disk cannot be pulled out: no tmpfs can be mounted here (root is needed)");
        return;
    };
    let (served, here) = (scratch(), scratch());
    // The disk is somewhere in the tree, as disks are.
    let mounted = served.path().join("disk");
    std::fs::create_dir(&mounted).unwrap();
    make_file(served.path(), "stays", 100_000);
    disk.move_to(&mounted);
    make_file(&mounted, "big", 24 * MIB);
    make_file(&mounted, "small", 1000);
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let copy = here.path().join("copy");
    let uri = server.uri("/");
    let mut mirror = pdtp_start(&["mirror", "--watch", "--json", &uri, copy.to_str().unwrap()]);
    wait_until("the first copy", PATIENCE, || mirror.stdout().contains("\"event\":\"done\""));
    assert_same_tree(served.path(), &copy);
    let target = here.path().join("got");
    let big = server.uri("/disk/big");
    let getting = pdtp_start(&["get", "--json", "--limit-down", "6M", &big, "-o", target.to_str().unwrap()]);
    wait_until("under way", PATIENCE, || getting.stdout().contains("\"event\":\"progress\""));
    disk.pull_out();
    // Whoever has it open may still give it; otherwise it is said. The server lives, and serves what it has.
    let run = getting.finish(PATIENCE);
    match run.code() {
        0 => assert_same_file(&copy.join("disk/big"), &target),
        code => assert!(matches!(code, 4 | 6) && !target.exists(), "{run:?}"),
    }
    pdtp(&["get", &server.uri("/stays"), "-o", here.path().join("stays").to_str().unwrap()]).expect(0);
    pdtp(&["get", &big, "-o", here.path().join("late").to_str().unwrap()]).expect(4);
    assert!(copy.join("disk/big").exists(), "a mirror that was not asked to delete does not");
    // And back again.
    let Some(again) = Tmpfs::mount(64) else { panic!("it could be mounted before") };
    disk = again;
    make_file(disk.path(), "new", 5000);
    disk.move_to(&mounted);
    wait_until("found again", PATIENCE, || pdtp(&["stat", &server.uri("/disk/new")]).code() == 0);
    assert!(mirror.is_running());
}
